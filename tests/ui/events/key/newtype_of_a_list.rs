use rustok_events::prelude::*;

#[derive(PartitionKey)]
struct Ids(Vec<u64>);

fn main() {}
