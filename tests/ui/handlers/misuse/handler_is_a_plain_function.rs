use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};
use rustok_events::{EventRuntime, EventTransport};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: u64,
}

async fn index(_ctx: &mut HandlerContext<'_, ()>, _event: Placed) -> HandlerResult {
    Ok(())
}

fn build(db: sea_orm::DatabaseConnection, transport: impl EventTransport) {
    let _ = EventRuntime::builder(db)
        .transport(transport)
        .handler(index);
}

fn main() {}
