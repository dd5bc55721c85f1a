use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
enum Order {
    Placed { id: u64 },
    #[domain_event(name = "order.placed")]
    Taken { id: u64 },
}

fn main() {}
