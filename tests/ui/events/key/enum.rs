use rustok_events::prelude::*;

#[derive(PartitionKey)]
enum Id {
    Number(u64),
}

fn main() {}
