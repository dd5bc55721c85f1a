use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};
use sea_orm::DatabaseTransaction;
use uuid::Uuid;

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: u64,
}

async fn place(bus: TransactionalEventBus, txn: DatabaseTransaction, event: Placed) {
    bus.publish_in_tx(&txn, Uuid::nil(), None, &event).await.unwrap();
}

fn main() {}
