use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What happens to an order.
#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", name = "order", partition_key = order_id, partitions = 0)]
pub enum OrderEvent {
    Placed { order_id: Uuid, titles: Vec<String> },
    #[domain_event(name = "order placed")]
    Paid { order_id: Uuid, total_cents: i64 },
    Shipped { order: Uuid },
}

fn main() {}
