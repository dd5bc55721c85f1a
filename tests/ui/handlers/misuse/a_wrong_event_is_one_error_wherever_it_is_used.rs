use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id, version = 0)]
struct Placed {
    id: u64,
}

#[event_handler(group = "search")]
async fn index<S>(ctx: &mut HandlerContext<'_, S>, event: Placed) -> HandlerResult {
    ctx.publish(event).await?;
    Ok(())
}

fn main() {}
