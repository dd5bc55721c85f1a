use rustok_events::prelude::*;

#[derive(PartitionKey)]
union Id {
    number: u64,
}

fn main() {}
