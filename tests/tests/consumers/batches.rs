//! Events that fail among many that do not, partitions that are slow among many that are not, and databases that are
//! in their own way.

use std::{sync::Arc, time::Duration};

use rustok_events::{
    ConsumerConfig, ConsumerRuntime, Relay, RelayConfig, TransactionalEventBus, prelude::*,
    testing::MemoryTransport,
};
use rustok_events_tests::{Backend, TestDatabase, eventually, on_every_database};
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::domain::{ALWAYS, App, Step, TENANT, of_key, on, record, step};

/// Writes a batch, unless one of it fails.
#[event_handler(group = "gatherers", retry(attempts = 1, min = "1ms", max = "2ms"))]
async fn take_all(ctx: &mut HandlerContext<'_, App>, events: Batch<Step>) -> HandlerResult {
    for envelope in &events {
        ctx.state().check(envelope.event.number)?;
        record(ctx.tx(), &envelope.event.key, envelope.event.number).await?;
    }
    Ok(())
}

#[event_handler(group = "singles", retry(attempts = 1, min = "1ms", max = "2ms"))]
async fn take_one(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    ctx.state().check(event.number)?;
    record(ctx.tx(), &event.key, event.number).await?;
    Ok(())
}

const EVENTS: i64 = 900;
const POISON: [i64; 3] = [100, 101, 720];

/// Events that lie at the broker.
pub(crate) async fn published(
    database: &TestDatabase,
    events: impl Iterator<Item = impl DomainEvent>,
) -> MemoryTransport {
    let transport = MemoryTransport::new();
    let txn = database.db.begin().await.unwrap();
    TransactionalEventBus::new().publish_all_in_tx(&txn, TENANT, None, events).await.unwrap();
    txn.commit().await.unwrap();
    let config = RelayConfig::default();
    Relay::new(database.db.clone(), transport.clone(), config).drain().await.unwrap();
    transport
}

/// Handles 900 events of which three are poison, and checks what became of all.
async fn check_poison<H: EventHandler<App>>(database: &TestDatabase, handler: H) -> u32 {
    let state = App::default();
    for number in POISON {
        state.fail(number, ALWAYS);
    }
    // 300 keys; those of the poison stop.
    let events = (0..EVENTS).map(|number| step(&format!("k{}", number % 300), number));
    let transport = published(database, events).await;
    let mut config = ConsumerConfig::default();
    config.batch_size = 1000;
    let runtime = ConsumerRuntime::builder(database.db.clone(), transport)
        .state(state.clone())
        .config(config)
        .handler(handler)
        .build()
        .unwrap();
    let token = CancellationToken::new();
    let task = tokio::spawn(runtime.run(token.clone()));
    eventually(|| async {
        let seen = database.count("SELECT COUNT(*) FROM rustok_inbox").await;
        seen == EVENTS
    })
    .await;
    token.cancel();
    task.await.unwrap().unwrap();
    for key in 0..300 {
        let all = [key, key + 300, key + 600];
        let expected = all.iter().take_while(|number| !POISON.contains(number));
        let expected: Vec<i64> = expected.copied().collect();
        assert_eq!(of_key(database, &format!("k{key}")).await, expected, "key {key}");
    }
    let held = |state: &str| format!("SELECT COUNT(*) FROM rustok_held WHERE state = '{state}'");
    assert_eq!(database.count(&held("dead")).await, 3);
    assert_eq!(database.count(&held("waiting")).await, 4, "two behind each of 100 and 101");
    let blamed = "SELECT COUNT(*) FROM rustok_held WHERE state = 'waiting' AND attempts > 0";
    assert_eq!(database.count(blamed).await, 0, "no attempt is counted for the others");
    state.calls()
}

/// How many transactions wrote the inbox: PostgreSQL remembers it with each row.
async fn transactions(database: &TestDatabase) -> Option<i64> {
    let sql = "SELECT COUNT(DISTINCT xmin::text) FROM rustok_inbox";
    match database.backend() {
        Backend::Postgres => Some(database.count(sql).await),
        _ => None,
    }
}

on_every_database! {
async fn poisoned_events_do_not_make_their_batch_go_one_by_one(database) {
    let calls = check_poison(&database, take_one).await;
    assert!(calls <= 2 * 900 + 20, "{calls} calls");
    if let Some(transactions) = transactions(&database).await {
        assert!(transactions <= 40, "{transactions} transactions for 900 events");
    }
}
}

on_every_database! {
async fn poisoned_events_in_batch_handlers_are_found_by_halving(database) {
    check_poison(&database, take_all).await;
    if let Some(transactions) = transactions(&database).await {
        assert!(transactions <= 100, "{transactions} transactions for 900 events");
    }
}
}

/// Waits at the key `slow` until it is let go.
#[event_handler(group = "waiters", inbox = none)]
async fn wait(ctx: &mut DetachedContext<'_, (App, Arc<Semaphore>)>, event: Step) -> HandlerResult {
    let (state, gate) = ctx.state();
    if event.key == "slow" {
        let _pass = gate.acquire().await?;
    }
    state.check(event.number)?;
    state.note(event.key, event.number);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_partition_neither_stops_the_others_nor_fills_the_memory() {
    let database = Backend::Sqlite.create().await;
    let (state, gate) = (App::default(), Arc::new(Semaphore::new(0)));
    let app =
        on(&database).state((state.clone(), gate.clone())).handler(wait).consumers(|config| {
            config.batch_size = 4;
        });
    let app = app.start().await.unwrap();
    // More than may lie in memory, all before anything of the other partition.
    app.publish_all(TENANT, (0..200).map(|number| step("slow", number))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let keys = (0..20).map(|number| format!("quick-{number}"));
    app.publish_all(TENANT, keys.map(|key| step(&key, 0))).await.unwrap();
    // About half of them lie on the other partition.
    eventually(|| async { state.seen().len() >= 5 }).await;
    gate.add_permits(10);
    eventually(|| async { state.seen().len() == 220 }).await;
    let slow = state.seen().into_iter().filter(|(key, _)| key == "slow").map(|(_, number)| number);
    assert_eq!(slow.collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
}

/// Changes a row that another transaction has locked, and does not wait for long.
#[event_handler(group = "impatient", retry(attempts = 1, min = "1ms", max = "2ms"))]
async fn touch(ctx: &mut HandlerContext<'_, App>, event: Step) -> HandlerResult {
    let patience = match ctx.tx().get_database_backend() {
        sea_orm::DbBackend::Postgres => "SET LOCAL lock_timeout = '200ms'",
        sea_orm::DbBackend::MySql => "SET innodb_lock_wait_timeout = 1",
        _ => "PRAGMA busy_timeout = 50",
    };
    ctx.tx().execute_unprepared(patience).await?;
    ctx.tx().execute_unprepared("UPDATE ledger SET number = number + 1 WHERE id = 1").await?;
    record(ctx.tx(), &event.key, event.number).await?;
    Ok(())
}

on_every_database! {
async fn a_lock_that_is_waited_for_in_vain_is_not_an_attempt(database) {
    record(&database.db, "row", 0).await.unwrap();
    let pool = database.connect_with(1).await;
    if database.backend() == Backend::Sqlite {
        pool.execute_unprepared("PRAGMA busy_timeout = 50").await.unwrap();
    }
    let app = rustok_events::testing::TestApp::builder().connection(pool).state(App::default()).handler(touch);
    let app = app.start().await.unwrap();
    app.publish(TENANT, step("a", 7)).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, [7], "without a lock it is done at once");
    let locker = database.db.begin().await.unwrap();
    locker.execute_unprepared("UPDATE ledger SET number = 100 WHERE id = 1").await.unwrap();
    let txn = match database.backend() {
        // Nobody else can publish on SQLite meanwhile.
        Backend::Sqlite => None,
        _ => Some(database.db.begin().await.unwrap()),
    };
    let bus = TransactionalEventBus::new();
    match &txn {
        Some(txn) => bus.publish_in_tx(txn, TENANT, None, step("a", 8)).await.unwrap(),
        None => bus.publish_in_tx(&locker, TENANT, None, step("a", 8)).await.unwrap(),
    };
    if let Some(txn) = txn {
        bus.commit(txn).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(of_key(&database, "a").await, [7], "the row is locked");
    }
    locker.commit().await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(of_key(&database, "a").await, [7, 8]);
    assert!(app.dead_letters().await.unwrap().is_empty());
}
}
