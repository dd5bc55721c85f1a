use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
enum Order {
    #[domain_event(version = 2)]
    Placed { id: u64 },
}

fn main() {}
