use rustok_events::prelude::*;

#[derive(PartitionKey)]
struct Id<T>(T);

fn main() {}
