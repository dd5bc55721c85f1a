//! What happens in this shop. A real domain keeps this in a crate of its own: it needs no broker and no runtime.

use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A customer placed an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "shop", topic = "orders", partition_key = customer_id, validate = Self::check)]
pub struct OrderPlaced {
    pub order_id: Uuid,
    pub customer_id: String,
    pub total_cents: i64,
    pub currency: String,
    pub titles: Vec<String>,
}

impl OrderPlaced {
    fn check(&self) -> Result<(), String> {
        if self.total_cents < 0 {
            return Err(format!("an order cannot total {} cents", self.total_cents));
        }
        Ok(())
    }
}

/// An order can be found in the search table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "shop", topic = "search", partition_key = customer_id)]
pub struct OrderIndexed {
    pub order_id: Uuid,
    pub customer_id: String,
}
