use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id, validate = check)]
struct Placed {
    id: u64,
}

fn check(placed: &Placed) -> bool {
    placed.id > 0
}

fn main() {}
