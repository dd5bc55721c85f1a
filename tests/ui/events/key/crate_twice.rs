use rustok_events::prelude::*;

#[derive(PartitionKey)]
#[partition_key(crate = rustok_events, crate = rustok_events)]
struct Id(u64);

fn main() {}
