use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders")]
struct Placed {
    #[domain_event(partition_key)]
    id: u64,
    #[domain_event(partition_key)]
    customer: String,
}

fn main() {}
