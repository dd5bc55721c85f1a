use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 0;

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id, version = VERSION)]
struct Placed {
    id: u64,
}

fn main() {}
