use rustok_events::prelude::*;

#[derive(PartitionKey)]
struct Id {
    order: u64,
    line: u32,
}

fn main() {}
