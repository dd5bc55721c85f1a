use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: u64,
}

#[event_handler(group = "search", name = "a", name = "b")]
async fn index<S>(_ctx: &mut HandlerContext<'_, S>, _event: Placed) -> HandlerResult {
    Ok(())
}

fn main() {}
