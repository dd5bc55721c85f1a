use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(name = "placed", stream = "commerce", topic = "baskets", partition_key = id)]
struct PlacedV1 {
    id: u64,
}

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(name = "placed", stream = "commerce", topic = "orders", partition_key = id, version = 2, previous = PlacedV1)]
struct Placed {
    id: u64,
}

impl From<PlacedV1> for Placed {
    fn from(old: PlacedV1) -> Self {
        Self { id: old.id }
    }
}

fn main() {}
