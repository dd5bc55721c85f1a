use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = none)]
struct Shared {
    #[serde(skip)]
    count: std::rc::Rc<u32>,
}

fn main() {}
