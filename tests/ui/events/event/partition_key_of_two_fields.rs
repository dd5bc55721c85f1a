use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = (id, line))]
struct Placed {
    id: u64,
    line: u32,
}

fn main() {}
