use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: u64,
}

/// Makes an order findable.
#[event_handler(groop = "search", retry(max = "30"))]
pub async fn index_order(ctx: &HandlerContext<'_, ()>, event: Placed) -> HandlerResult {
    let _ = (ctx, event);
    Ok(())
}

fn main() {}
