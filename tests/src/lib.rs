//! What the tests share. Everything here panics where a test would fail.

#![allow(clippy::missing_panics_doc, reason = "test support panics where a test would fail")]

use std::{future::Future, time::Duration};

use rustok_events::migration::Migrator;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use sea_orm_migration::MigratorTrait;
use tempfile::TempDir;

/// A migrated SQLite database in a folder of its own, with a ledger that nothing in it is unique in.
pub async fn database() -> (DatabaseConnection, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut options =
        ConnectOptions::new(format!("sqlite://{}/test.db?mode=rwc", dir.path().display()));
    options.sqlx_logging(false).map_sqlx_sqlite_opts(|options| {
        options
            .journal_mode(sea_orm::sqlx::sqlite::SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(30))
    });
    let db = Database::connect(options).await.expect("SQLite opens");
    Migrator::up(&db, None).await.expect("the tables are created");
    db.execute_unprepared(
        "CREATE TABLE ledger (id INTEGER PRIMARY KEY AUTOINCREMENT, event_key TEXT, number INTEGER)",
    )
    .await
    .expect("the ledger is created");
    (db, dir)
}

/// Waits until a condition holds, at most ten seconds.
pub async fn eventually<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("the condition holds within ten seconds");
}

/// The rows of a query, as tuples.
pub async fn rows<T: sea_orm::TryGetableMany>(db: &DatabaseConnection, sql: &str) -> Vec<T> {
    let statement = sea_orm::Statement::from_string(db.get_database_backend(), sql);
    db.query_all_raw(statement)
        .await
        .expect("the query runs")
        .iter()
        .map(|row| T::try_get_many_by_index(row).expect("the columns fit"))
        .collect()
}

/// The pages whose examples are compiled.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../docs/derive.md")]
    mod derive {}
}
