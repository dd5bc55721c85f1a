//! The road of an event, from the transaction to the handler, on every database and a broker in memory.

mod delayed;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustok_events::{
    DomainEvent, EventDescriptor, EventRuntime, Key, PublishError, Relay, RelayConfig,
    TransactionalEventBus, dead_letter,
    handler::{EventHandler, HandlerOptions, OnDeadLetter, RetryPolicy, Transactional},
    prelude::*,
    testing::MemoryTransport,
    transport::TopicName,
};
use rustok_events_tests::{eventually, on_every_database};
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(1);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Counted {
    key: String,
    number: u32,
}

const COUNTED: EventDescriptor = EventDescriptor::new("counted", 1, "test", "counts").partitions(4);

impl DomainEvent for Counted {
    const STREAM: &'static str = "test";
    const TOPIC: &'static str = "counts";
    const DESCRIPTORS: &'static [EventDescriptor] = &[COUNTED];

    fn descriptor(&self) -> &'static EventDescriptor {
        &Self::DESCRIPTORS[0]
    }

    fn partition_key(&self) -> Key<'_> {
        Key::of(&self.key)
    }
}

fn counted(key: &str, number: u32) -> Counted {
    Counted { key: key.to_owned(), number }
}

/// Writes each event it sees into a table, and fails where the state says so.
struct Record;

#[derive(Default)]
struct App {
    fail_number: Option<u32>,
    terminal: bool,
    calls: AtomicU32,
}

impl EventHandler<Arc<App>> for Record {
    const GROUP: &'static str = "recorders";
    const NAME: &'static str = "record";
    const OPTIONS: HandlerOptions = HandlerOptions::new().retry(RetryPolicy {
        attempts: 3,
        min: Duration::from_millis(1),
        max: Duration::from_millis(5),
    });
    type Input = Envelope<Counted>;
    type Mode = Transactional;

    async fn handle(
        &self,
        ctx: &mut HandlerContext<'_, Arc<App>>,
        input: Envelope<Counted>,
    ) -> HandlerResult {
        ctx.state().calls.fetch_add(1, Ordering::Relaxed);
        let sql = format!(
            "INSERT INTO ledger (event_key, number) VALUES ('{}', {})",
            input.event.key, input.event.number
        );
        ctx.tx().execute_unprepared(&sql).await?;
        if ctx.state().fail_number == Some(input.event.number) {
            let failed: Result<(), _> = Err("this number is not wanted");
            return if ctx.state().terminal { failed.terminal() } else { Ok(failed?) };
        }
        Ok(())
    }
}

struct Running {
    token: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), rustok_events::RuntimeError>>,
}

impl Running {
    async fn stop(self) {
        self.token.cancel();
        self.task.await.expect("the runtime does not panic").expect("the runtime stops well");
    }
}

fn start(db: &sea_orm::DatabaseConnection, transport: &MemoryTransport, app: &Arc<App>) -> Running {
    let token = CancellationToken::new();
    let runtime = EventRuntime::builder(db.clone())
        .transport(transport.clone())
        .state(Arc::clone(app))
        .handler(Record)
        .build()
        .expect("the parts fit");
    Running { task: tokio::spawn(runtime.run(token.clone())), token }
}

async fn publish(db: &sea_orm::DatabaseConnection, event: Counted) -> EventId {
    let bus = TransactionalEventBus::new();
    let txn = db.begin().await.unwrap();
    let id = bus.publish_in_tx(&txn, TENANT, None, event).await.unwrap();
    bus.commit(txn).await.unwrap();
    id
}

on_every_database! {
async fn every_committed_event_is_handled_once_in_order_of_its_key(database) {
    let db = &database.db;
    let transport = MemoryTransport::new();
    let app = Arc::new(App::default());
    let running = start(db, &transport, &app);
    for number in 0..200 {
        publish(db, counted(["a", "b", "c"][number as usize % 3], number)).await;
    }
    eventually(|| async { database.ledger().await.len() == 200 }).await;
    running.stop().await;
    for key in ["a", "b", "c"] {
        let numbers: Vec<i64> =
            database.ledger().await.into_iter().filter(|(k, _)| k == key).map(|(_, n)| n).collect();
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
}
}

on_every_database! {
async fn a_rolled_back_event_never_reaches_the_broker(database) {
    let db = &database.db;
    let transport = MemoryTransport::new();
    let bus = TransactionalEventBus::new();
    let txn = db.begin().await.unwrap();
    bus.publish_in_tx(&txn, TENANT, None, counted("a", 1)).await.unwrap();
    txn.rollback().await.unwrap();
    publish(db, counted("a", 2)).await;
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default());
    assert_eq!(relay.drain().await.unwrap().published, 1);
    let messages: Vec<_> =
        transport.messages(&TopicName::new("test", "counts")).into_iter().flatten().collect();
    assert_eq!(messages.len(), 1);
    assert_eq!(&messages[0].payload[..], br#"{"key":"a","number":2}"#);
}
}

on_every_database! {
async fn a_refused_event_leaves_the_transaction_usable_and_the_database_untouched(database) {
    let db = &database.db;
    let bus = TransactionalEventBus::new();
    let txn = db.begin().await.unwrap();
    let refused = bus.publish_in_tx(&txn, TENANT, None, counted("", 1)).await;
    assert!(matches!(refused, Err(PublishError::KeyLength { bytes: 0, .. })), "{refused:?}");
    let refused = bus.publish_in_tx(&txn, Uuid::nil(), None, counted("a", 1)).await;
    assert!(matches!(refused, Err(PublishError::NilTenant { .. })), "{refused:?}");
    let refused = bus.event(counted("a", 1)).tenant(TENANT).header("ce-id", "x");
    let refused = refused.publish_in_tx(&txn).await;
    assert!(matches!(refused, Err(PublishError::Header { .. })), "{refused:?}");
    bus.publish_in_tx(&txn, TENANT, None, counted("a", 2)).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_outbox").await, 1);
}
}

on_every_database! {
async fn an_id_is_for_one_event(database) {
    let db = &database.db;
    let bus = TransactionalEventBus::new();
    let id = Uuid::now_v7();
    let txn = db.begin().await.unwrap();
    for _ in 0..2 {
        let event = bus.event(counted("a", 1)).tenant(TENANT).id(id);
        assert_eq!(event.publish_in_tx(&txn).await.unwrap(), EventId::from(id));
    }
    let other = bus.event(counted("a", 2)).tenant(TENANT).id(id).publish_in_tx(&txn).await;
    assert!(matches!(other, Err(PublishError::Conflict { .. })), "{other:?}");
    txn.commit().await.unwrap();
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_outbox").await, 1);
}
}

on_every_database! {
async fn a_failing_event_is_retried_then_kept_with_its_bytes_and_its_key_waits(database) {
    let db = &database.db;
    let transport = MemoryTransport::new();
    let app = Arc::new(App { fail_number: Some(2), ..App::default() });
    for (key, number) in [("a", 1), ("a", 2), ("b", 10), ("a", 3), ("b", 11)] {
        publish(db, counted(key, number)).await;
    }
    let running = start(db, &transport, &app);
    eventually(|| async { database.ledger().await.len() == 3 }).await;
    eventually(|| async {
        database.count("SELECT COUNT(*) FROM rustok_held").await == 2
    })
    .await;
    running.stop().await;
    let mut seen = database.ledger().await;
    seen.sort();
    let expected = [("a", 1), ("b", 10), ("b", 11)].map(|(key, n)| (key.to_owned(), n));
    assert_eq!(seen, expected, "the key waits, the other flows");
    let dead = dead_letter::dead_letters(db).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].payload, br#"{"key":"a","number":2}"#);
    assert_eq!((dead[0].attempts, dead[0].code.as_str()), (3, "handler_error"));
    assert!(dead[0].parks_key);
    assert_eq!(Record::OPTIONS.on_dead_letter, OnDeadLetter::Park);
}
}

on_every_database! {
async fn a_terminal_error_is_not_retried(database) {
    let db = &database.db;
    let transport = MemoryTransport::new();
    let app = Arc::new(App { fail_number: Some(1), terminal: true, ..App::default() });
    publish(db, counted("a", 1)).await;
    let running = start(db, &transport, &app);
    eventually(|| async { !dead_letter::dead_letters(db).await.unwrap().is_empty() }).await;
    running.stop().await;
    assert_eq!(app.calls.load(Ordering::Relaxed), 1);
    assert_eq!(dead_letter::dead_letters(db).await.unwrap()[0].attempts, 1);
}
}

on_every_database! {
async fn a_second_relay_stands_by_and_takes_over(database) {
    let db = &database.db;
    let transport = MemoryTransport::new();
    let config = || RelayConfig::default().lease(Duration::from_millis(300));
    let first = Relay::new(db.clone(), transport.clone(), config());
    let second = Relay::new(db.clone(), transport.clone(), config());
    let (stop_first, stop_second) = (CancellationToken::new(), CancellationToken::new());
    let first = tokio::spawn(first.run(stop_first.clone()));
    let second = tokio::spawn(second.run(stop_second.clone()));
    for number in 0..20 {
        publish(db, counted("a", number)).await;
        if number == 10 {
            stop_first.cancel();
        }
    }
    let numbers = || published(&transport);
    eventually(|| async { numbers().contains(&19) }).await;
    first.await.unwrap().unwrap();
    stop_second.cancel();
    second.await.unwrap().unwrap();
    assert_eq!(
        numbers(),
        (0..20).collect::<Vec<_>>(),
        "each once, in order: the stop was graceful"
    );
}
}

/// The numbers that reached the broker, in the order of their partitions.
fn published(transport: &MemoryTransport) -> Vec<u32> {
    let messages = transport.messages(&TopicName::new("test", "counts")).into_iter().flatten();
    messages
        .map(|message| serde_json::from_slice::<Counted>(&message.payload).unwrap().number)
        .collect()
}

on_every_database! {
async fn a_savepoint_takes_its_events_with_it(database) {
    let db = &database.db;
    let transport = MemoryTransport::new();
    let bus = TransactionalEventBus::new();
    let txn = db.begin().await.unwrap();
    bus.publish_in_tx(&txn, TENANT, None, counted("a", 1)).await.unwrap();
    let kept = txn.begin().await.unwrap();
    bus.publish_in_tx(&kept, TENANT, None, counted("a", 2)).await.unwrap();
    kept.commit().await.unwrap();
    let undone = txn.begin().await.unwrap();
    bus.publish_in_tx(&undone, TENANT, None, counted("a", 3)).await.unwrap();
    // On the outer handle, while the inner savepoint is open: it lands inside the savepoint.
    bus.publish_in_tx(&txn, TENANT, None, counted("a", 4)).await.unwrap();
    undone.rollback().await.unwrap();
    bus.publish_in_tx(&txn, TENANT, None, counted("a", 5)).await.unwrap();
    bus.commit(txn).await.unwrap();
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default());
    assert_eq!(relay.drain().await.unwrap().published, 3);
    assert_eq!(published(&transport), [1, 2, 5]);
}
}
