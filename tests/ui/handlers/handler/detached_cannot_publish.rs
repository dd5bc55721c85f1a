use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: u64,
}

#[event_handler(group = "mail", inbox = none)]
async fn mail<S>(ctx: &mut DetachedContext<'_, S>, event: Placed) -> HandlerResult {
    ctx.publish(event).await?;
    Ok(())
}

fn main() {}
