use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};
use sea_orm::DatabaseConnection;

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: u64,
}

async fn place(bus: TransactionalEventBus, db: DatabaseConnection) {
    bus.event(Placed { id: 1 }).publish_in_tx(&db).await.unwrap();
}

fn main() {}
