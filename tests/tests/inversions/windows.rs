//! Where windows and pages end, and parts that have none.

use rustok_events::{Relay, RelayConfig, testing::MemoryTransport};
use rustok_events_tests::{Backend, on_every_database, rows};
use sea_orm::{DatabaseConnection, TransactionTrait};

use crate::{arrived, number, publish, publish_alone, relay};

/// A relay that follows snapshots on PostgreSQL, and takes a page for all that there is.
struct ByPages {
    snapshot: String,
    page: u32,
}

impl ByPages {
    async fn read(&mut self, db: &DatabaseConnection) -> Vec<u32> {
        let now: Vec<(String,)> = rows(db, "SELECT pg_current_snapshot()::text").await;
        let select = format!(
            "SELECT payload FROM rustok_outbox WHERE NOT pg_visible_in_snapshot(txid, '{}')
                AND pg_visible_in_snapshot(txid, '{}') ORDER BY id LIMIT {}",
            self.snapshot, now[0].0, self.page
        );
        let read: Vec<(Vec<u8>,)> = rows(db, &select).await;
        self.snapshot.clone_from(&now[0].0);
        read.iter().map(|(payload,)| number(payload)).collect()
    }
}

on_every_database! {
async fn a_window_of_exactly_one_page_and_of_one_more_or_less(database) {
    let (db, transport) = (&database.db, MemoryTransport::new());
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default().page_size(3));
    let mut naive = ByPages { snapshot: "3:3:".to_owned(), page: 3 };
    let mut naive_lost = Vec::new();
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
        if database.backend() == Backend::Postgres && naive.read(db).await.len() != size as usize {
            naive_lost.push(size);
        }
    }
    if database.backend() == Backend::Postgres {
        assert_eq!(naive_lost, [4, 6, 7], "a relay that takes a page for the window loses the rest");
    }
}
}

on_every_database! {
async fn parts_without_events(database) {
    let (db, transport) = (&database.db, MemoryTransport::new());
    let relay = relay(db, &transport);
    // Long after others, the first event of a key whose part never had one.
    let mut naive = None;
    for number in 1..=20 {
        publish_alone(db, "a", number).await;
        relay.drain().await.unwrap();
    }
    for (number, key) in (21..=60).zip(b'b'..) {
        publish_alone(db, &char::from(key).to_string(), number).await;
        if database.backend() == Backend::Postgres && number == 22 {
            let snapshot = rows::<(String,)>(db, "SELECT pg_current_snapshot()::text").await.remove(0).0;
            naive = Some(ByPages { snapshot, page: 1000 });
        }
    }
    if let Some(naive) = &mut naive {
        let read = naive.read(db).await;
        assert_eq!(read.len(), 38, "a part whose cursor begins where it is first seen loses what it had");
    }
    assert_eq!(relay.drain().await.unwrap().published, 40);
    let mut arrived = arrived(&transport);
    arrived.sort_unstable();
    assert_eq!(arrived, (1..=60).collect::<Vec<_>>());
}
}
