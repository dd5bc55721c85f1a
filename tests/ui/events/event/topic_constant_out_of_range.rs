use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

const NAME: &str = "Not A Name";

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(topic = NAME, stream = "commerce", partition_key = id)]
struct Placed {
    id: u64,
}

fn main() {}
