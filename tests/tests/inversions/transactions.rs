//! Transactions that read first, that race for an id, or that are dropped while they begin.

use std::time::Duration;

use rustok_events::{
    PublishError, TransactionalEventBus, migration::Migrator, prelude::*, testing::MemoryTransport,
};
use rustok_events_tests::{Backend, on_every_database};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, Statement, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Numbered, TENANT, arrived, publish_alone, relay};

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_sqlite_transaction_that_reads_first() {
    let database = Backend::Sqlite.create().await;
    let (db, transport) = (&database.db, MemoryTransport::new());
    let deferred = db.begin().await.unwrap();
    let select = Statement::from_string(db.get_database_backend(), "SELECT COUNT(*) FROM ledger");
    deferred.query_one_raw(select).await.unwrap();
    publish_alone(db, "a", 1).await;
    // SQLite refuses at once, however long it may wait: what was read is out of date.
    let event = Numbered { key: "a".to_owned(), number: 2 };
    let bus = TransactionalEventBus::new();
    let refused = bus.publish_in_tx(&deferred, TENANT, None, event).await;
    assert!(matches!(refused, Err(PublishError::Database(_))), "{refused:?}");
    deferred.rollback().await.unwrap();
    publish_alone(db, "a", 3).await;
    assert_eq!(relay(db, &transport).drain().await.unwrap().published, 2);
    assert_eq!(arrived(&transport), [1, 3]);
}

/// Publishes a number under an id, in a transaction that stays open.
async fn write_once(
    db: &DatabaseConnection,
    id: Uuid,
    number: u32,
) -> (DatabaseTransaction, Result<EventId, PublishError>) {
    let txn = db.begin().await.unwrap();
    let bus = TransactionalEventBus::new();
    let event = Numbered { key: "a".to_owned(), number };
    let published = bus.event(event).tenant(TENANT).id(id).publish_in_tx(&txn).await;
    (txn, published)
}

/// Asks whether an id is there, and writes it if not.
async fn write_once_by_asking(txn: &DatabaseTransaction, id: Uuid) {
    let backend = txn.get_database_backend();
    let select = format!("SELECT id FROM ledger WHERE event_key = '{id}'");
    if txn.query_one_raw(Statement::from_string(backend, select)).await.unwrap().is_none() {
        let insert = format!("INSERT INTO ledger (event_key, number) VALUES ('{id}', 1)");
        txn.execute_unprepared(&insert).await.unwrap();
    }
}

on_every_database! {
async fn a_write_once_id_under_two_concurrent_transactions(database) {
    let (db, transport) = (&database.db, MemoryTransport::new());
    // The first commits: the second finds the same event there, or another.
    // The first rolls back: the second is the one.
    for (first_commits, second_number, events) in [(true, 1, 1), (true, 2, 1), (false, 1, 1)] {
        let id = Uuid::now_v7();
        let (first, published) = write_once(db, id, 1).await;
        assert_eq!(published.unwrap(), EventId::from(id));
        let second = tokio::spawn({
            let db = db.clone();
            async move {
                let (txn, published) = write_once(&db, id, second_number).await;
                match &published {
                    Ok(_) => txn.commit().await.unwrap(),
                    Err(_) => txn.rollback().await.unwrap(),
                }
                published
            }
        });
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(!second.is_finished(), "the second waits for the first");
        if first_commits {
            first.commit().await.unwrap();
        } else {
            first.rollback().await.unwrap();
        }
        let second = second.await.unwrap();
        if first_commits && second_number != 1 {
            assert!(matches!(second, Err(PublishError::Conflict { .. })), "{second:?}");
        } else {
            assert_eq!(second.unwrap(), EventId::from(id));
        }
        assert_eq!(relay(db, &transport).drain().await.unwrap().published, events);
    }
    // SQLite has one writer.
    if database.backend() != Backend::Sqlite {
        let (first, second) = (db.begin().await.unwrap(), db.begin().await.unwrap());
        let id = Uuid::now_v7();
        write_once_by_asking(&first, id).await;
        write_once_by_asking(&second, id).await;
        first.commit().await.unwrap();
        second.commit().await.unwrap();
        assert_eq!(database.ledger().await.len(), 2, "who asks first lets both through");
    }
}
}

/// On MySQL a query that is dropped while its statement is prepared can cost the pool a connection, whoever drops it,
/// so a pool of one would say nothing of the relay.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_dropped_while_it_begins_a_transaction() {
    for backend in Backend::available("a_relay_that_is_dropped") {
        leave_no_transaction_open(backend, |pool| {
            let run = relay(&pool, &MemoryTransport::new()).run(CancellationToken::new());
            async { drop(run.await) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_is_dropped_while_it_begins_a_transaction() {
    for backend in Backend::available("a_migration_that_is_dropped") {
        leave_no_transaction_open(backend, async |pool| drop(Migrator::up(&pool, None).await))
            .await;
    }
}

/// Drops work on a pool of one connection after longer and longer: what it leaves behind is what comes next.
async fn leave_no_transaction_open<F: Future<Output = ()>>(
    backend: Backend,
    work: impl Fn(DatabaseConnection) -> F,
) {
    const DROPS: u32 = 150;
    if backend == Backend::MySql {
        return;
    }
    let database = backend.create().await;
    let pool = database.connect_with(1).await;
    for drop_number in 0..DROPS {
        let patience = Duration::from_micros(u64::from(drop_number) * 40);
        let _ended_or_dropped = tokio::time::timeout(patience, work(pool.clone())).await;
        let insert = format!("INSERT INTO ledger (event_key, number) VALUES ('a', {drop_number})");
        pool.execute_unprepared(&insert).await.unwrap();
    }
    // Another connection sees what was committed, and nothing that lies in a transaction left open.
    assert_eq!(database.count("SELECT COUNT(*) FROM ledger").await, i64::from(DROPS));
    pool.close().await.unwrap();
}
