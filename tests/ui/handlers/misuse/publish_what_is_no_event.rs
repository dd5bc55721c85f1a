use rustok_events::prelude::*;
use sea_orm::DatabaseTransaction;
use uuid::Uuid;

async fn place(bus: TransactionalEventBus, txn: DatabaseTransaction) {
    bus.publish_in_tx(&txn, Uuid::nil(), None, "placed").await.unwrap();
}

fn main() {}
