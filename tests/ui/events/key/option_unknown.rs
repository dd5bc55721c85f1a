use rustok_events::prelude::*;

#[derive(PartitionKey)]
#[partition_key(krate = rustok_events)]
struct Id(u64);

fn main() {}
