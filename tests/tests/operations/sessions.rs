//! What sessions and transactions of the servers are told, and how what they answer is understood.

use std::time::Duration;

use rustok_events::{ConsumerRuntime, RelayError, testing::MemoryTransport};
use rustok_events_tests::{Backend, eventually, rows};
use sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use tokio_util::sync::CancellationToken;

use crate::{publish, record, relay};

/// What `docs/operations.md` says to do about it; [`TestDatabase`] does it.
#[tokio::test]
async fn statements_dropped_on_mysql_cost_the_pool_no_connection() {
    // Some are answered before they are dropped, and some connections notice: enough for two that do not.
    const DROPS: u32 = 60;
    if !Backend::MySql.is_available("statements_dropped_on_mysql_cost_the_pool_no_connection") {
        return;
    }
    let database = Backend::MySql.create().await;
    let pool = database.connect_with(2).await;
    let mut dropped = 0;
    for number in 0..1000 {
        let begun = tokio::time::timeout(Duration::from_secs(10), pool.begin()).await;
        let txn = begun.expect("the pool has a connection").unwrap();
        // Another text each time, so that it is prepared.
        let insert = format!("INSERT INTO ledger (event_key, number) VALUES ('{number}', ?)");
        let insert = Statement::from_sql_and_values(DbBackend::MySql, insert, [number.into()]);
        let mut inserting = Box::pin(txn.execute_raw(insert));
        if futures::poll!(&mut inserting).is_pending() {
            dropped += 1;
        }
        if dropped == DROPS {
            break;
        }
    }
    assert_eq!(dropped, DROPS);
    assert_eq!(database.ledger().await, []);
}

/// As servers say it whose messages are German; their codes are what they are in English.
#[tokio::test]
async fn a_table_that_is_missing_is_known_in_any_language() {
    for backend in Backend::available("a_table_that_is_missing_is_known_in_any_language") {
        let database = backend.create_empty().await;
        let missing = match backend {
            Backend::Postgres => {
                "DO $$ BEGIN RAISE 'Relation »rustok_outbox« existiert nicht' USING ERRCODE = '42P01'; END $$"
            }
            Backend::MySql => {
                "SIGNAL SQLSTATE '42S02' SET MYSQL_ERRNO = 1146,
                        MESSAGE_TEXT = 'Tabelle `test.rustok_outbox` existiert nicht'"
            }
            Backend::Sqlite => "SELECT 1 FROM rustok_outbox",
        };
        let error = database.db.execute_unprepared(missing).await.unwrap_err();
        assert!(error.to_string().contains("rustok_outbox"), "{error}");
        assert!(!RelayError::Database(error).is_retryable(), "{backend:?}");
        if backend == Backend::MySql {
            // The error names the database too, and this one's name begins like a table of the library.
            continue;
        }
        let error = database.db.execute_unprepared("SELECT 1 FROM another").await.unwrap_err();
        assert!(RelayError::Database(error).is_retryable(), "{backend:?}: it is not the library's");
    }
}

/// One that goes silent in the middle, with its machine or its network, keeps the rows that it has locked, and other relays
/// pass over those.
#[tokio::test]
async fn postgresql_ends_a_transaction_of_the_library_that_has_gone_silent_and_no_other() {
    let test = "postgresql_ends_a_transaction_of_the_library_that_has_gone_silent";
    if !Backend::Postgres.is_available(test) {
        return;
    }
    let database = Backend::Postgres.create().await;
    // By what it writes: a relay its leases, an application its events, a handler's transaction its inbox.
    let mut watch = "CREATE TABLE bounds (writes TEXT, bound TEXT);
                     CREATE FUNCTION note_bound() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                         INSERT INTO bounds VALUES (TG_TABLE_NAME, current_setting('idle_in_transaction_session_timeout'));
                         RETURN NULL; END $$;"
        .to_owned();
    for table in ["rustok_outbox_relay", "rustok_outbox", "rustok_inbox"] {
        let trigger = format!(
            "CREATE TRIGGER note_bound AFTER INSERT ON {table} EXECUTE FUNCTION note_bound();"
        );
        watch.push_str(&trigger);
    }
    database.db.execute_unprepared(&watch).await.unwrap();
    let transport = MemoryTransport::new();
    publish(&database, 0..3).await;
    relay(&database, &transport).drain().await.unwrap();
    let consumers = ConsumerRuntime::builder(database.db.clone(), transport).handler(record);
    let stop = CancellationToken::new();
    let running = tokio::spawn(consumers.build().unwrap().run(stop.clone()));
    eventually(|| async { database.count("SELECT COUNT(*) FROM rustok_inbox").await == 3 }).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let others = "SELECT current_setting('idle_in_transaction_session_timeout')";
    let others = &rows::<(String,)>(&database.db, others).await[0].0;
    let bounds = "SELECT DISTINCT writes, bound FROM bounds ORDER BY writes";
    let bounds: Vec<(String, String)> = rows(&database.db, bounds).await;
    let bound = |writes: &str, bound: &str| (writes.to_owned(), bound.to_owned());
    assert_eq!(
        bounds,
        [
            bound("rustok_inbox", others),
            bound("rustok_outbox", others),
            bound("rustok_outbox_relay", "15s"),
        ]
    );
}
