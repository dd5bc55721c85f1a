use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: u64,
}

struct App;

impl App {
    #[event_handler(group = "search")]
    async fn index(&self, _ctx: &mut HandlerContext<'_, App>, _event: Placed) -> HandlerResult {
        Ok(())
    }
}

fn main() {}
