use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders")]
struct Placed {
    #[domain_event(partition_key, topic = "orders")]
    id: u64,
}

fn main() {}
