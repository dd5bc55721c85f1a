use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id, validate = check, validate = check)]
struct Placed {
    id: u64,
}

fn check(_: &Placed) -> Result<(), String> {
    Ok(())
}

fn main() {}
