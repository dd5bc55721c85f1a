use rustok_events::prelude::*;

#[derive(PartitionKey)]
struct Price(f64);

fn main() {}
