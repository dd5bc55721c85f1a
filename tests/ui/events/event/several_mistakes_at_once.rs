use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A customer placed an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(
    steam = "commerce",
    topic = "Orders",
    partition_key = order_id,
    version = 0,
)]
pub struct OrderPlaced {
    pub order_id: Uuid,
    pub customer_id: Uuid,
    pub total_cents: i64,
    pub titles: Vec<String>,
}

fn main() {}
