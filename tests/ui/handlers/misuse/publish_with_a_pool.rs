use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};
use sea_orm::DatabaseConnection;
use uuid::Uuid;

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "commerce", topic = "orders", partition_key = id)]
struct Placed {
    id: u64,
}

async fn place(bus: TransactionalEventBus, db: DatabaseConnection) {
    let published = bus.publish_in_tx(&db, Uuid::nil(), None, Placed { id: 1 });
    published.await.unwrap();
}

fn main() {}
