use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders")]
enum Order {
    Placed { id: u64 },
    #[domain_event(partition_key = tenant)]
    Closed { id: u64 },
    Opened,
}

fn main() {}
