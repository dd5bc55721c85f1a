use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: u64,
}

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
enum Order {
    Opened { id: u64 },
    Closed { id: u64 },
    Reopened { id: u64 },
}

#[event_handler(group = "search")]
async fn follow<S>(_ctx: &mut HandlerContext<'_, S>, event: Order) -> HandlerResult {
    match event {
        Order::Opened { .. } => Ok(()),
        Order::Closed { .. } => Ok(()),
    }
}

fn main() {}
