//! What operators ask and do: status, health with its cause by name, retention, publishing again, rebasing.

use std::time::Duration;

use rustok_events::{
    ConsumerError, ConsumerRuntime, Relay, RelayConfig, RelayError, TransactionalEventBus,
    migration::{Migrator, SchemaError},
    outbox::{CleanedUp, OutboxTrouble, outbox_health, outbox_status, rebase, republish},
    prelude::*,
    testing::MemoryTransport,
    transport::TopicName,
};
use rustok_events_tests::{
    Backend, MeddledTransport, TestDatabase, eventually, on_every_database, rows,
};
use sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use sea_orm_migration::MigratorTrait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "test", topic = "counts", partition_key = key, partitions = 4)]
struct Counted {
    key: String,
    number: u32,
}

#[event_handler(group = "recorders")]
async fn record<S>(_: &mut HandlerContext<'_, S>, _: Counted) -> HandlerResult {
    Ok(())
}

async fn publish(database: &TestDatabase, numbers: std::ops::Range<u32>) {
    let bus = TransactionalEventBus::new();
    let txn = database.db.begin().await.unwrap();
    for number in numbers {
        let event = Counted { key: format!("key-{}", number % 10), number };
        bus.publish_in_tx(&txn, Uuid::from_u128(1), None, event).await.unwrap();
    }
    bus.commit(txn).await.unwrap();
}

fn published(transport: &MemoryTransport) -> Vec<u32> {
    let messages = transport.messages(&TopicName::new("test", "counts")).into_iter().flatten();
    messages
        .map(|message| serde_json::from_slice::<Counted>(&message.payload).unwrap().number)
        .collect()
}

fn relay(database: &TestDatabase, transport: &MemoryTransport) -> Relay {
    Relay::new(database.db.clone(), transport.clone(), RelayConfig::default())
}

/// As if everything in the log had been written a while ago.
async fn age(database: &TestDatabase, by: Duration) {
    let micros = by.as_micros();
    let update = format!("UPDATE rustok_outbox SET created_at = created_at - {micros}");
    database.db.execute_unprepared(&update).await.unwrap();
}

async fn codes(database: &TestDatabase) -> Vec<&'static str> {
    outbox_health(&database.db).await.causes.iter().map(OutboxTrouble::code).collect()
}

on_every_database! {
async fn the_status_counts_what_waits_and_who_works(database) {
    let transport = MemoryTransport::new();
    publish(&database, 0..30).await;
    let status = outbox_status(&database.db).await.unwrap();
    assert_eq!((status.backlog, status.refused, status.delayed), (30, 0, 0));
    assert!(status.oldest.unwrap() < Duration::from_secs(30), "{:?}", status.oldest);
    assert!(status.parts.iter().all(|part| !part.is_held));
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay(&database, &transport).run(stop.clone()));
    eventually(|| async {
        let status = outbox_status(&database.db).await.unwrap();
        status.backlog == 0 && status.oldest.is_none() && status.parts.iter().all(|part| part.is_held)
    })
    .await;
    let status = outbox_status(&database.db).await.unwrap();
    assert_eq!(status.relays.len(), 1);
    assert!(status.relays[0].is_alive && status.relays[0].trouble.is_none());
    stop.cancel();
    running.await.unwrap().unwrap();
    let status = outbox_status(&database.db).await.unwrap();
    assert!(status.relays.is_empty() && status.parts.iter().all(|part| !part.is_held));
}
}

on_every_database! {
async fn a_stall_is_named(database) {
    assert_eq!(codes(&database).await, [""; 0]);
    publish(&database, 0..3).await;
    assert_eq!(codes(&database).await, [""; 0], "nothing has waited for long");
    age(&database, Duration::from_secs(31)).await;
    assert_eq!(codes(&database).await, ["no_holder"]);
    assert!(outbox_health(&database.db).await.oldest().unwrap() > Duration::from_secs(30));
    // A relay that cannot reach its broker says so itself.
    let away = MeddledTransport::default();
    away.set_away(true);
    let config = RelayConfig::default().lease(Duration::from_millis(600));
    let stop = CancellationToken::new();
    let running = tokio::spawn(Relay::new(database.db.clone(), away, config).run(stop.clone()));
    eventually(|| async { codes(&database).await == ["relay_stuck"] }).await;
    let health = outbox_health(&database.db).await;
    let OutboxTrouble::RelayStuck { code, .. } = &health.causes[0] else { panic!("{health:?}") };
    assert_eq!(code, "broker_away");
    stop.cancel();
    running.await.unwrap().unwrap();
}
}

on_every_database! {
async fn a_delayed_event_that_nobody_releases_is_named(database) {
    let txn = database.db.begin().await.unwrap();
    let event = Counted { key: "key".to_owned(), number: 1 };
    let due = chrono::Utc::now() + Duration::from_hours(1);
    let bus = TransactionalEventBus::new();
    bus.publish_at(&txn, Uuid::from_u128(1), None, due, event).await.unwrap();
    bus.commit(txn).await.unwrap();
    assert_eq!(codes(&database).await, [""; 0], "it is not due");
    assert_eq!(outbox_status(&database.db).await.unwrap().overdue, None);
    let sooner = |by: Duration| format!("UPDATE rustok_outbox_delayed SET due_at = due_at - {}", by.as_micros());
    database.db.execute_unprepared(&sooner(Duration::from_hours(1))).await.unwrap();
    assert_eq!(codes(&database).await, [""; 0], "it has not been due for long");
    database.db.execute_unprepared(&sooner(Duration::from_secs(31))).await.unwrap();
    assert_eq!(codes(&database).await, ["no_holder"]);
    assert!(outbox_health(&database.db).await.oldest().unwrap() > Duration::from_secs(30));
    // A relay that holds the parts, and does not say why it releases nothing.
    let held = format!("UPDATE rustok_outbox_cursor SET owner = 'other', lease_until = {}", i64::MAX);
    database.db.execute_unprepared(&held).await.unwrap();
    assert_eq!(codes(&database).await, ["stalled"]);
    let free = "UPDATE rustok_outbox_cursor SET owner = NULL, lease_until = 0";
    database.db.execute_unprepared(free).await.unwrap();
    let transport = MemoryTransport::new();
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay(&database, &transport).run(stop.clone()));
    eventually(|| async { published(&transport) == [1] }).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(codes(&database).await, [""; 0]);
}
}

on_every_database! {
async fn published_events_go_after_the_replay_window_and_no_others(database) {
    let transport = MemoryTransport::new();
    publish(&database, 0..2500).await;
    assert_eq!(relay(&database, &transport).drain().await.unwrap().published, 2500);
    age(&database, Duration::from_hours(2)).await;
    publish(&database, 2500..2510).await;
    let count = || database.count("SELECT COUNT(*) FROM rustok_outbox");
    let config = |hours: u64| RelayConfig::default().replay_window(Duration::from_secs(hours * 3600));
    let relay = |hours| Relay::new(database.db.clone(), transport.clone(), config(hours));
    assert_eq!(relay(3).clean_up().await.unwrap(), CleanedUp::default());
    assert_eq!(count().await, 2510);
    let deleted = relay(1).clean_up().await.unwrap().events;
    // On PostgreSQL what lies in the newest window of a part goes with a later one.
    assert!(deleted > 0 && count().await == 2510 - i64::try_from(deleted).unwrap());
    // What waits is kept however old it is.
    age(&database, Duration::from_hours(2)).await;
    relay(1).clean_up().await.unwrap();
    assert_eq!(relay(1).drain().await.unwrap().published, 10);
    let mut numbers = published(&transport);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..2510).collect::<Vec<_>>());
    relay(0).clean_up().await.unwrap();
    assert_eq!(count().await, 0);
}
}

on_every_database! {
async fn the_replay_window_is_published_again_in_order(database) {
    let transport = MemoryTransport::new();
    publish(&database, 0..20).await;
    age(&database, Duration::from_hours(1)).await;
    publish(&database, 20..1700).await;
    let relay = relay(&database, &transport);
    assert_eq!(relay.drain().await.unwrap().published, 1700);
    let since = std::time::SystemTime::now() - Duration::from_mins(10);
    assert_eq!(republish(&database.db, since).await.unwrap(), 1680);
    assert_eq!(relay.drain().await.unwrap().published, 1680);
    for key in 0..10 {
        let again: Vec<u32> = published(&transport).into_iter().filter(|n| n % 10 == key).collect();
        let first = (0..1700).filter(|n| n % 10 == key);
        let second = (20..1700).filter(|n| n % 10 == key);
        assert_eq!(again, first.chain(second).collect::<Vec<_>>(), "key {key}");
    }
}
}

/// How many pending events are not in the log, on MySQL.
async fn missing(database: &TestDatabase) -> i64 {
    let select =
        "SELECT COUNT(*) FROM rustok_outbox_pending p LEFT JOIN rustok_outbox o ON o.id = p.id
                   WHERE o.id IS NULL";
    database.count(select).await
}

/// Drains, and not for ever.
async fn drained(relay: &Relay) -> u64 {
    let drained = tokio::time::timeout(Duration::from_secs(20), relay.drain()).await;
    drained.expect("nothing is pending for ever").unwrap().published
}

/// On the other databases what is published again is copied.
#[tokio::test]
async fn what_is_being_published_again_is_not_deleted_on_mysql() {
    if !Backend::MySql.is_available("what_is_being_published_again_is_not_deleted_on_mysql") {
        return;
    }
    let database = Backend::MySql.create().await;
    let transport = MemoryTransport::new();
    publish(&database, 0..20).await;
    assert_eq!(relay(&database, &transport).drain().await.unwrap().published, 20);
    age(&database, Duration::from_hours(2)).await;
    publish(&database, 20..21).await;
    // All is listed again but the last event, which is listed already and locked.
    let txn = database.db.begin().await.unwrap();
    txn.execute_unprepared("SELECT id FROM rustok_outbox_pending FOR UPDATE").await.unwrap();
    let since = std::time::SystemTime::now() - Duration::from_hours(3);
    let db = database.db.clone();
    let again = tokio::spawn(async move { republish(&db, since).await });
    let listing = "SELECT COUNT(*) FROM information_schema.processlist
                    WHERE db = DATABASE() AND info LIKE 'INSERT IGNORE INTO rustok_outbox_pending%'";
    eventually(|| async { database.count(listing).await == 1 }).await;
    let config = RelayConfig::default().replay_window(Duration::from_hours(1));
    let relay = Relay::new(database.db.clone(), transport.clone(), config);
    assert_eq!(relay.clean_up().await.unwrap(), CleanedUp::default());
    txn.rollback().await.unwrap();
    assert_eq!(again.await.unwrap().unwrap(), 21);
    assert_eq!(missing(&database).await, 0);
    assert_eq!(drained(&relay).await, 21);
    assert_eq!(published(&transport).len(), 41);
    assert_eq!(relay.clean_up().await.unwrap().events, 20);
}

#[tokio::test]
async fn what_is_pending_and_not_in_the_log_holds_nothing_up_on_mysql() {
    if !Backend::MySql.is_available("what_is_pending_and_not_in_the_log_holds_nothing_up_on_mysql")
    {
        return;
    }
    let database = Backend::MySql.create().await;
    let transport = MemoryTransport::new();
    publish(&database, 0..2500).await;
    // What a deletion beside `republish` left behind.
    database.db.execute_unprepared("DELETE FROM rustok_outbox").await.unwrap();
    publish(&database, 2500..2510).await;
    assert_eq!(missing(&database).await, 2500);
    let relay = relay(&database, &transport);
    assert_eq!(relay.clean_up().await.unwrap(), CleanedUp::default());
    assert_eq!(missing(&database).await, 0);
    assert_eq!(drained(&relay).await, 10);
    assert_eq!(published(&transport).len(), 10);
}

on_every_database! {
async fn tables_that_do_not_fit_are_named(database) {
    let transport = MemoryTransport::new();
    let set = "UPDATE rustok_outbox_meta SET value = '7' WHERE name = 'version'";
    database.db.execute_unprepared(set).await.unwrap();
    let refused = relay(&database, &transport).run(CancellationToken::new()).await;
    assert!(matches!(refused, Err(RelayError::Schema(SchemaError::Newer { found: 7, .. }))), "{refused:?}");
    assert_eq!(codes(&database).await, ["tables_newer"]);
    Migrator::down(&database.db, None).await.unwrap();
    let refused = relay(&database, &transport).run(CancellationToken::new()).await;
    assert!(matches!(refused, Err(RelayError::Schema(SchemaError::Missing(_)))), "{refused:?}");
    let consumers = ConsumerRuntime::builder(database.db.clone(), transport).handler(record);
    let refused = consumers.build().unwrap().run(CancellationToken::new()).await;
    assert!(matches!(refused, Err(ConsumerError::Schema(SchemaError::Missing(_)))), "{refused:?}");
    assert_eq!(codes(&database).await, ["tables_missing"]);
}
}

#[tokio::test]
async fn an_outbox_in_another_cluster_is_refused_until_it_is_rebased() {
    if !Backend::Postgres
        .is_available("an_outbox_in_another_cluster_is_refused_until_it_is_rebased")
    {
        return;
    }
    let database = Backend::Postgres.create().await;
    let transport = MemoryTransport::new();
    publish(&database, 0..20).await;
    assert_eq!(relay(&database, &transport).drain().await.unwrap().published, 20);
    publish(&database, 20..30).await;
    // What a restore into a cluster that has seen far fewer transactions looks like: every number is too high.
    for sql in [
        "UPDATE rustok_outbox_meta SET value = '1' WHERE name = 'cluster'",
        "UPDATE rustok_outbox SET txid = (txid::text::bigint + 1000000000)::text::xid8",
        "UPDATE rustok_outbox_cursor SET snapshot = (
             (pg_snapshot_xmin(snapshot)::text::bigint + 1000000000)::text || ':' ||
             (pg_snapshot_xmax(snapshot)::text::bigint + 1000000000)::text || ':')::pg_snapshot
          WHERE pg_snapshot_xmax(snapshot)::text <> '3'",
    ] {
        database.db.execute_unprepared(sql).await.unwrap();
    }
    let refused = relay(&database, &transport).drain().await;
    assert!(matches!(refused, Err(RelayError::Cluster(_))), "{refused:?}");
    assert_eq!(codes(&database).await, ["cluster_changed"]);
    let set = "UPDATE rustok_outbox_meta SET value = (SELECT system_identifier::text FROM pg_control_system())
                WHERE name = 'cluster'";
    database.db.execute_unprepared(set).await.unwrap();
    assert_eq!(codes(&database).await, ["cursor_impossible"]);
    rebase(&database.db).await.unwrap();
    assert_eq!(codes(&database).await, [""; 0]);
    publish(&database, 30..40).await;
    assert_eq!(relay(&database, &transport).drain().await.unwrap().published, 20);
    let mut numbers = published(&transport);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>(), "nothing is lost, nothing comes twice");
    // Half restored, it does not say where it comes from: nothing is changed.
    let lost = "DELETE FROM rustok_outbox_meta WHERE name = 'cluster'";
    database.db.execute_unprepared(lost).await.unwrap();
    assert!(rebase(&database.db).await.is_err());
    let found = "INSERT INTO rustok_outbox_meta (name, value)
                 SELECT 'cluster', system_identifier::text FROM pg_control_system()";
    database.db.execute_unprepared(found).await.unwrap();
    assert_eq!(codes(&database).await, [""; 0]);
    // What an upgrade in place looks like: another cluster that counts on.
    publish(&database, 40..45).await;
    assert_eq!(relay(&database, &transport).drain().await.unwrap().published, 5);
    let set = "UPDATE rustok_outbox_meta SET value = '1' WHERE name = 'cluster'";
    database.db.execute_unprepared(set).await.unwrap();
    publish(&database, 45..50).await;
    rebase(&database.db).await.unwrap();
    assert_eq!(relay(&database, &transport).drain().await.unwrap().published, 5);
    assert_eq!(published(&transport).len(), 50);
}

#[tokio::test]
async fn a_clock_that_differs_from_the_database_s_is_named() {
    if !Backend::Postgres.is_available("a_clock_that_differs_from_the_database_s_is_named") {
        return;
    }
    let database = Backend::Postgres.create().await;
    // A database whose clock is a minute behind: its time is looked up in the schema first.
    let function = "CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql
                    AS $$ SELECT pg_catalog.clock_timestamp() - interval '1 minute' $$";
    database.db.execute_unprepared(function).await.unwrap();
    let skewed = database.connect_in(&format!("{},pg_catalog", database.schema)).await;
    let health = outbox_health(&skewed).await;
    let [OutboxTrouble::ClockSkew { by, is_ahead: true }] = health.causes[..] else {
        panic!("{health:?}");
    };
    assert!((55..=60).contains(&by.as_secs()), "{by:?}");
    assert_eq!(codes(&database).await, [""; 0]);
}

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
