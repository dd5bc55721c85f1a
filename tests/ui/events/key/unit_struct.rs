use rustok_events::prelude::*;

#[derive(PartitionKey)]
struct Id;

fn main() {}
