use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = order_di)]
struct Placed {
    order_id: u64,
    customer: String,
}

fn main() {}
