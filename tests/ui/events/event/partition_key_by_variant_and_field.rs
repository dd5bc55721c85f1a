use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders")]
enum Order {
    #[domain_event(partition_key = tenant)]
    Placed {
        #[domain_event(partition_key)]
        id: u64,
    },
}

fn main() {}
