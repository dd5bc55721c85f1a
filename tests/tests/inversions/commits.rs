//! Ids, transaction ids and commits come in three orders. Naive relays follow one of the first two.

use std::time::Duration;

use rustok_events::testing::MemoryTransport;
use rustok_events_tests::{Backend, TestDatabase, on_every_database, rows};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, TransactionTrait};

use crate::{arrived, drain, number, publish, publish_alone, relay};

/// A relay that follows a cursor over ids.
#[derive(Default)]
struct ById {
    cursor: i64,
}

impl ById {
    async fn read(&mut self, db: &DatabaseConnection) -> Vec<u32> {
        let sql =
            format!("SELECT id, payload FROM rustok_outbox WHERE id > {} ORDER BY id", self.cursor);
        let read: Vec<(i64, Vec<u8>)> = rows(db, &sql).await;
        self.cursor = read.last().map_or(self.cursor, |(id, _)| *id);
        read.iter().map(|(_, payload)| number(payload)).collect()
    }
}

/// A relay that reads what no open transaction can precede, in the order of transactions.
async fn read_by_transaction(db: &DatabaseConnection) -> Vec<u32> {
    let sql = "SELECT payload FROM rustok_outbox
                WHERE txid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY txid, id";
    rows::<(Vec<u8>,)>(db, sql).await.iter().map(|(payload,)| number(payload)).collect()
}

async fn postgres(test: &str) -> Option<TestDatabase> {
    let is_there = Backend::Postgres.is_available(test);
    if is_there { Some(Backend::Postgres.create().await) } else { None }
}

#[tokio::test]
async fn a_transaction_that_takes_its_id_early_and_writes_its_key_late() {
    // Both in one window, and the first in a window of its own, behind which the cursor has moved.
    for relayed_between in [false, true] {
        let Some(database) = postgres("a_transaction_that_takes_its_id_early").await else {
            return;
        };
        let (db, transport) = (&database.db, MemoryTransport::new());
        let relay = relay(db, &transport);
        let early = db.begin().await.unwrap();
        early.execute_unprepared("SELECT pg_current_xact_id()").await.unwrap();
        publish_alone(db, "a", 1).await;
        if relayed_between {
            drain(&relay).await;
            assert_eq!(arrived(&transport), [1]);
        }
        // The other is committed: this one comes after it.
        publish(&early, "a", 2).await;
        early.commit().await.unwrap();
        drain(&relay).await;
        assert_eq!(arrived(&transport), [1, 2]);
        // Held back by a transaction anywhere in the cluster, it may have to look again.
        let mut naive = Vec::new();
        for _ in 0..200 {
            naive = read_by_transaction(db).await;
            if naive.len() == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(naive, [2, 1], "a relay in the order of transactions turns them around");
    }
}

on_every_database! {
async fn a_lower_id_that_commits_later(database) {
    let (db, transport) = (&database.db, MemoryTransport::new());
    let relay = relay(db, &transport);
    let mut naive = ById::default();
    let first = db.begin().await.unwrap();
    publish(&first, "a", 1).await;
    if database.backend() == Backend::Sqlite {
        // One writer at a time: the higher id has to wait for the lower.
        let second = tokio::spawn({
            let db = db.clone();
            async move { publish_alone(&db, "b", 2).await }
        });
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(!second.is_finished());
        first.commit().await.unwrap();
        second.await.unwrap();
        drain(&relay).await;
        assert_eq!(arrived(&transport), [1, 2]);
        return;
    }
    // Of the same key, and so the same part: its cursor moves while the first is open.
    publish_alone(db, "a", 2).await;
    drain(&relay).await;
    assert_eq!(naive.read(db).await, [2]);
    first.commit().await.unwrap();
    drain(&relay).await;
    assert_eq!(arrived(&transport), [2, 1]);
    assert!(naive.read(db).await.is_empty(), "a relay that follows ids never sees it");
}
}

on_every_database! {
async fn an_inserted_row_that_waits_after_taking_its_id(database) {
    let (db, transport) = (&database.db, MemoryTransport::new());
    let relay = relay(db, &transport);
    publish_alone(db, "x", 0).await;
    db.execute_unprepared("INSERT INTO ledger (event_key, number) VALUES ('a', 0)").await.unwrap();
    let update = "UPDATE ledger SET number = number + 1 WHERE event_key = 'a'";
    let holder = db.begin().await.unwrap();
    holder.execute_unprepared(update).await.unwrap();
    let waiting = tokio::spawn({
        let db = db.clone();
        async move {
            let txn = db.begin().await.unwrap();
            publish(&txn, "b", 1).await;
            txn.execute_unprepared(update).await.unwrap();
            publish(&txn, "a", 3).await;
            txn.commit().await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut naive = ById::default();
    let is_sqlite = database.backend() == Backend::Sqlite;
    if !is_sqlite {
        // Of the same key as 1, which is not committed: the cursor of its part moves.
        publish_alone(db, "b", 9).await;
        drain(&relay).await;
        assert_eq!(arrived(&transport).len(), 2);
        assert_eq!(naive.read(db).await, [0, 9]);
    }
    publish(&holder, "a", 2).await;
    holder.commit().await.unwrap();
    drain(&relay).await;
    waiting.await.unwrap();
    if !is_sqlite {
        assert_eq!(naive.read(db).await, [2, 3], "a relay that follows ids has passed over 1");
    }
    drain(&relay).await;
    let arrived = arrived(&transport);
    let arrived: Vec<u32> = arrived.into_iter().filter(|number| *number != 9).collect();
    let place = |number| arrived.iter().position(|found| *found == number).expect("it arrived");
    assert_eq!(arrived.len(), 4, "{arrived:?}");
    assert!(place(2) < place(3), "the lock ordered them: {arrived:?}");
}
}

#[tokio::test]
async fn a_long_open_write_transaction_in_another_database_of_the_cluster() {
    let Some(database) = postgres("a_long_open_write_transaction").await else { return };
    let (db, transport) = (&database.db, MemoryTransport::new());
    let (server, _) = database.url.rsplit_once('/').expect("the URL names a database");
    let mut options = ConnectOptions::new(format!("{server}/postgres"));
    options.max_connections(1).sqlx_logging(false);
    let elsewhere = Database::connect(options).await.unwrap();
    let long = elsewhere.begin().await.unwrap();
    long.execute_unprepared("SELECT pg_current_xact_id()").await.unwrap();
    publish_alone(db, "a", 1).await;
    assert_eq!(relay(db, &transport).drain().await.unwrap().published, 1);
    assert_eq!(arrived(&transport), [1]);
    let naive = read_by_transaction(db).await;
    assert!(naive.is_empty(), "a relay behind the oldest open transaction stands still");
    long.rollback().await.unwrap();
}
