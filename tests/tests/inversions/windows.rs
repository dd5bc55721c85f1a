//! Where windows and pages end, and parts that have none.

use rustok_events::{Relay, RelayConfig, testing::MemoryTransport};
use rustok_events_tests::on_every_database;
use sea_orm::TransactionTrait;

use crate::{arrived, publish, publish_alone, relay};

on_every_database! {
async fn a_window_of_exactly_one_page_and_of_one_more_or_less(database) {
    let (db, transport) = (&database.db, MemoryTransport::new());
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default().page_size(3));
    let mut last = 0;
    for size in [2_u32, 3, 4, 6, 7] {
        let txn = db.begin().await.unwrap();
        for _ in 0..size {
            last += 1;
            publish(&txn, "a", last).await;
        }
        txn.commit().await.unwrap();
        assert_eq!(relay.drain().await.unwrap().published, u64::from(size));
        assert_eq!(arrived(&transport), (1..=last).collect::<Vec<_>>());
    }
}
}

on_every_database! {
async fn parts_without_events(database) {
    let (db, transport) = (&database.db, MemoryTransport::new());
    let relay = relay(db, &transport);
    // Long after others, the first event of a key whose part never had one.
    for number in 1..=20 {
        publish_alone(db, "a", number).await;
        relay.drain().await.unwrap();
    }
    for (number, key) in (21..=60).zip(b'b'..) {
        publish_alone(db, &char::from(key).to_string(), number).await;
    }
    assert_eq!(relay.drain().await.unwrap().published, 40);
    let mut arrived = arrived(&transport);
    arrived.sort_unstable();
    assert_eq!(arrived, (1..=60).collect::<Vec<_>>());
}
}
