use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

const NAME: &str = "order placed";

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id, name = NAME)]
struct Placed {
    id: u64,
}

fn main() {}
