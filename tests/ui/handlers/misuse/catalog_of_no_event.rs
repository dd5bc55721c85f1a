use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};
use rustok_events::Catalog;

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: u64,
}

fn check() {
    let _ = Catalog::of::<(Placed, String)>();
}

fn main() {}
