//! The tables come and go, from several instances at once, on every database.

use std::time::Duration;

use rustok_events::migration::Migrator;
use rustok_events_tests::{Backend, eventually};
use sea_orm::ConnectionTrait;
use sea_orm_migration::MigratorTrait;

const CURSORS: &str = "SELECT COUNT(*) FROM rustok_outbox_cursor";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_instances_migrate_at_once() {
    for backend in Backend::available("several_instances_migrate_at_once") {
        let database = backend.create_empty().await;
        let mut instances = Vec::new();
        for _ in 0..6 {
            let db = database.connect().await;
            instances.push(tokio::spawn(async move { Migrator::up(&db, None).await }));
        }
        for instance in instances {
            instance.await.unwrap().unwrap_or_else(|error| panic!("{backend:?}: {error}"));
        }
        let parts = if backend == Backend::Sqlite { 1 } else { 64 };
        assert_eq!(database.count(CURSORS).await, parts, "{backend:?}");
    }
}

#[tokio::test]
async fn down_takes_every_table_away_and_up_brings_it_back() {
    for backend in Backend::available("down_takes_every_table_away_and_up_brings_it_back") {
        let database = backend.create().await;
        Migrator::down(&database.db, None).await.unwrap();
        let tables = ["outbox", "outbox_once", "outbox_cursor", "outbox_relay", "inbox", "held"];
        for table in tables {
            let select = format!("SELECT 1 FROM rustok_{table}");
            assert!(database.db.execute_unprepared(&select).await.is_err(), "{backend:?}: {table}");
        }
        Migrator::up(&database.db, None).await.unwrap();
        assert!(database.count(CURSORS).await > 0, "{backend:?}");
    }
}

/// MySQL's lock belongs to a connection: one that went back to the pool with it would keep all others waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_is_dropped_while_it_waits_for_its_lock_keeps_nobody_from_migrating() {
    let name = "a_migration_that_is_dropped_while_it_waits_for_its_lock";
    if !Backend::MySql.is_available(name) {
        return;
    }
    let database = Backend::MySql.create_empty().await;
    let of_lock = |function: &str, more: &str| {
        format!("SELECT {function}(MD5(CONCAT(DATABASE(), '.rustok_events_migrations')){more})")
    };
    let other = database.connect_with(1).await;
    other.execute_unprepared(&of_lock("GET_LOCK", ", 10")).await.unwrap();
    let pool = database.connect_with(1).await;
    let waits = "SELECT COUNT(*) FROM information_schema.processlist
                  WHERE db = DATABASE() AND info LIKE 'SELECT GET_LOCK%600%'";
    tokio::select! {
        done = Migrator::up(&pool, None) => panic!("it waits: {done:?}"),
        () = eventually(|| async { database.count(waits).await == 1 }) => {}
    }
    other.execute_unprepared(&of_lock("RELEASE_LOCK", "")).await.unwrap();
    // Whoever comes next is let in, while the pool of the one that was dropped stays open.
    let next = tokio::time::timeout(Duration::from_secs(20), Migrator::up(&database.db, None));
    next.await.expect("nobody keeps the lock").unwrap();
    assert!(database.count(CURSORS).await > 0);
    drop(pool);
}
