use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};
use rustok_events::{EventRuntime, EventTransport};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: u64,
}

#[event_handler(group = "search")]
async fn index(_ctx: &mut HandlerContext<'_, App>, _event: Placed) -> HandlerResult {
    Ok(())
}

struct App;

fn build(db: sea_orm::DatabaseConnection, transport: impl EventTransport) {
    let _ = EventRuntime::builder(db)
        .transport(transport)
        .state(7_u32)
        .handler(index);
}

fn main() {}
