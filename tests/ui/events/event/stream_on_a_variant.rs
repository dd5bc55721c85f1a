use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(topic = "orders", stream = "commerce", partition_key = id)]
enum Order {
    #[domain_event(stream = "other")]
    Placed { id: u64 },
}

fn main() {}
