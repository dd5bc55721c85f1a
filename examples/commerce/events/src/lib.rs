//! What happens in the shop.
//!
//! Services agree on this crate and on nothing else: who publishes an event and who handles it is theirs.

use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A customer's number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, PartitionKey)]
pub struct CustomerId(pub String);

/// A customer placed an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(
    stream = "commerce",
    topic = "orders",
    partition_key = customer_id,
    name = "order.placed",
    validate = Self::check
)]
pub struct OrderPlaced {
    /// The order.
    pub order_id: Uuid,
    /// Whose it is; the orders of one customer keep their order.
    pub customer_id: CustomerId,
    /// What was ordered.
    pub titles: Vec<String>,
    /// The sum, in cents.
    pub total_cents: i64,
}

impl OrderPlaced {
    fn check(&self) -> Result<(), String> {
        if self.titles.is_empty() {
            return Err("an order has at least one title".to_owned());
        }
        Ok(())
    }
}

/// An order was taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(
    stream = "commerce",
    topic = "orders",
    partition_key = customer_id,
    name = "order.cancelled"
)]
pub struct OrderCancelled {
    /// The order.
    pub order_id: Uuid,
    /// Whose it was.
    pub customer_id: CustomerId,
}

/// The search service has taken an order into its table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "search", partition_key = order_id, name = "order.indexed")]
pub struct OrderIndexed {
    /// The order.
    pub order_id: Uuid,
}
