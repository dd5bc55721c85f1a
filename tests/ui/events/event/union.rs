use rustok_events::prelude::*;

#[derive(DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
union Placed {
    id: u64,
}

fn main() {}
