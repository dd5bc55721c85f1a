use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders")]
enum Order {}

fn main() {}
