use rustok_events::prelude::*;
use serde::Serialize;

#[derive(Serialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = none)]
struct Placed<'a> {
    id: &'a str,
}

fn main() {}
