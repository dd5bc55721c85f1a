use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

const COUNT: u32 = 4096;

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id, partitions = COUNT)]
struct Placed {
    id: u64,
}

fn main() {}
