use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};
use rustok_events::{EventRuntime, EventTransport};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: u64,
}

#[event_handler(group = "search")]
async fn index<S>(_ctx: &mut HandlerContext<'_, S>, _event: Placed) -> HandlerResult {
    Ok(())
}

fn build(db: sea_orm::DatabaseConnection, transport: impl EventTransport) {
    let _ = EventRuntime::builder(db)
        .transport(transport)
        .handler(index)
        .state(7_u32)
        .state(8_u32);
}

fn main() {}
