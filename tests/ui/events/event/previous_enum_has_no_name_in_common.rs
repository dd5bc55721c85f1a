use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(name = "basket", stream = "commerce", topic = "orders", partition_key = id)]
enum OrderV1 {
    Placed { id: u64 },
}

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(name = "order", stream = "commerce", topic = "orders", partition_key = id, version = 2, previous = OrderV1)]
enum Order {
    Placed { id: u64 },
    Closed { id: u64 },
}

impl From<OrderV1> for Order {
    fn from(OrderV1::Placed { id }: OrderV1) -> Self {
        Self::Placed { id }
    }
}

fn main() {}
