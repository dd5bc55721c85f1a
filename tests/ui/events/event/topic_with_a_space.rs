use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(topic = "The orders", stream = "commerce", partition_key = id)]
struct Placed {
    id: u64,
}

fn main() {}
