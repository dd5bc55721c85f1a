use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, PartitionKey)]
enum Id {
    Number(u64),
}

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: Id,
}

fn main() {}
