//! What operators ask and do: status, health with its cause by name, rebasing; what is kept and published again; what
//! sessions of the database are told.

mod log;
mod sessions;

use std::time::Duration;

use rustok_events::{
    ConsumerError, ConsumerRuntime, Relay, RelayConfig, RelayError, TransactionalEventBus,
    migration::{Migrator, SchemaError},
    outbox::{OutboxTrouble, outbox_health, outbox_status, rebase},
    prelude::*,
    testing::MemoryTransport,
    transport::TopicName,
};
use rustok_events_tests::{Backend, MeddledTransport, TestDatabase, eventually, on_every_database};
use sea_orm::{ConnectionTrait, TransactionTrait};
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
