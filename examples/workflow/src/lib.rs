//! An order is paid, then packed, then sent. Each step commits its own work and the event that sets off the next one
//! together; the correlation id of the first event is the whole chain's.

use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where an order stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "shop", topic = "order-steps", partition_key = order_id, name = "order")]
pub enum OrderStep {
    /// It was placed.
    Placed {
        /// The order.
        order_id: Uuid,
        /// What it costs.
        cents: i64,
    },
    /// It was paid.
    Paid {
        /// The order.
        order_id: Uuid,
    },
    /// It was packed and is on its way.
    Sent {
        /// The order.
        order_id: Uuid,
    },
}

/// Moves an order on. Without a wildcard: a new step that is not handled here does not compile.
#[event_handler(group = "fulfilment")]
pub async fn next_step<S>(ctx: &mut HandlerContext<'_, S>, event: OrderStep) -> HandlerResult {
    match event {
        OrderStep::Placed { cents, .. } if cents <= 0 => {
            return Err("an order has a price").terminal();
        }
        OrderStep::Placed { order_id, .. } => ctx.publish(OrderStep::Paid { order_id }).await?,
        OrderStep::Paid { order_id } => ctx.publish(OrderStep::Sent { order_id }).await?,
        OrderStep::Sent { .. } => return Ok(()),
    };
    Ok(())
}
