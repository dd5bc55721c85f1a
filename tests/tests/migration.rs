//! The tables come and go, from several instances at once, on every database.

use rustok_events::migration::Migrator;
use rustok_events_tests::Backend;
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
