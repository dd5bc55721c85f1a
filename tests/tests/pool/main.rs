//! Many outboxes behind one relay pool: everything published in order, few connections, none in the way of another.

mod troubled;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chrono::Utc;
use rustok_events::{
    TransactionalEventBus,
    outbox::{parked_events, retry_parked},
    prelude::*,
    relay::{RelayPool, RelayPoolConfig},
    testing::MemoryTransport,
    transport::TopicName,
};
use rustok_events_tests::{Backend, MeddledTransport, TestDatabase, eventually};
use sea_orm::{ConnectOptions, ConnectionTrait, TransactionTrait};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// More outboxes than connections.
const OUTBOXES: usize = 9;
const CONNECTIONS: usize = 3;
/// Of each outbox.
const EVENTS: u32 = 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "test", topic = "pooled", partition_key = key, partitions = 4)]
struct Pooled {
    key: String,
    number: u32,
}

struct Outboxes {
    databases: Vec<TestDatabase>,
}

impl Outboxes {
    async fn create(backend: Backend, count: usize) -> Self {
        let mut databases = Vec::new();
        for _ in 0..count {
            databases.push(backend.create().await);
        }
        Self { databases }
    }

    /// Publishes an event to each, in its own order.
    async fn publish(&self, number: u32) {
        for place in 0..self.databases.len() {
            publish(&self.databases[place], place, number).await;
        }
    }

    fn add_to(&self, pool: &RelayPool) {
        for (place, database) in self.databases.iter().enumerate() {
            assert!(pool.add(format!("outbox {place}"), options(database)));
        }
    }
}

fn options(database: &TestDatabase) -> ConnectOptions {
    let mut options = ConnectOptions::new(&database.url);
    options.sqlx_logging(false);
    if !database.schema.is_empty() {
        options.set_schema_search_path(&database.schema);
    }
    options
}

async fn publish(database: &TestDatabase, place: usize, number: u32) {
    let txn = database.db.begin().await.unwrap();
    let event = Pooled { key: format!("key-{place}"), number };
    let bus = TransactionalEventBus::new();
    bus.publish_in_tx(&txn, Uuid::from_u128(1), None, event).await.unwrap();
    bus.commit(txn).await.unwrap();
}

/// Publishes events of these numbers in one transaction.
async fn publish_many(database: &TestDatabase, place: usize, numbers: std::ops::Range<u32>) {
    let txn = database.db.begin().await.unwrap();
    let key = format!("key-{place}");
    let events: Vec<Pooled> = numbers.map(|number| Pooled { key: key.clone(), number }).collect();
    let bus = TransactionalEventBus::new();
    bus.publish_all_in_tx(&txn, Uuid::from_u128(1), None, events).await.unwrap();
    bus.commit(txn).await.unwrap();
}

/// What was published of each key, in order.
fn published(transport: &MemoryTransport) -> HashMap<String, Vec<u32>> {
    let mut published: HashMap<String, Vec<u32>> = HashMap::new();
    for message in transport.messages(&TopicName::new("test", "pooled")).into_iter().flatten() {
        let event: Pooled = serde_json::from_slice(&message.payload).unwrap();
        published.entry(event.key).or_default().push(event.number);
    }
    published
}

/// Each number at its first time.
fn firsts(numbers: &[u32]) -> Vec<u32> {
    let mut seen = HashSet::new();
    numbers.iter().copied().filter(|number| seen.insert(*number)).collect()
}

fn config() -> RelayPoolConfig {
    RelayPoolConfig::default().max_connections(CONNECTIONS).max_pause(Duration::from_millis(200))
}

fn start(pool: &RelayPool) -> (JoinHandle<()>, CancellationToken) {
    let (pool, stop) = (pool.clone(), CancellationToken::new());
    let token = stop.clone();
    (tokio::spawn(async move { pool.run(token).await }), stop)
}

async fn everything_arrives_in_order(backend: Backend) {
    if !backend.is_available("everything_arrives_in_order") {
        return;
    }
    let outboxes = Outboxes::create(backend, OUTBOXES).await;
    let transport = MemoryTransport::new();
    let pool = RelayPool::new(transport.clone(), config());
    outboxes.add_to(&pool);
    let (running, stop) = start(&pool);
    for number in 0..EVENTS {
        outboxes.publish(number).await;
    }
    let all = || published(&transport).values().map(Vec::len).sum::<usize>();
    eventually(|| async { all() >= OUTBOXES * EVENTS as usize }).await;
    stop.cancel();
    running.await.unwrap();
    let published = published(&transport);
    assert_eq!(published.len(), OUTBOXES);
    for (key, numbers) in published {
        assert_eq!(numbers, (0..EVENTS).collect::<Vec<_>>(), "{key}");
    }
    assert!(
        pool.status().iter().all(|outbox| outbox.trouble.is_none() && outbox.visited.is_some())
    );
    for database in &outboxes.databases {
        let held = database
            .count("SELECT COUNT(*) FROM rustok_outbox_cursor WHERE owner IS NOT NULL")
            .await;
        assert_eq!(held, 0, "leases are given back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_in_order_on_sqlite() {
    everything_arrives_in_order(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_in_order_on_postgres() {
    everything_arrives_in_order(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_in_order_on_mysql() {
    everything_arrives_in_order(Backend::MySql).await;
}

/// What the pool's connections are called there.
const NAME: &str = "no_more_connections_are_open_than_allowed";

/// Counted by the server, while outboxes outnumber connections and all have events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_connections_are_open_than_allowed() {
    if !Backend::Postgres.is_available(NAME) {
        return;
    }
    let outboxes = Arc::new(Outboxes::create(Backend::Postgres, OUTBOXES).await);
    let transport = MemoryTransport::new();
    let pool = RelayPool::new(transport.clone(), config());
    for (place, database) in outboxes.databases.iter().enumerate() {
        let mut options = options(database);
        options.map_sqlx_postgres_opts(|options| options.application_name(NAME));
        pool.add(format!("outbox {place}"), options);
    }
    let (running, stop) = start(&pool);
    let writing = tokio::spawn({
        let outboxes = Arc::clone(&outboxes);
        async move {
            for number in 0..15 {
                outboxes.publish(number).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let count = format!("SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = '{NAME}'");
    let open = || outboxes.databases[0].count(&count);
    let allowed = i64::try_from(CONNECTIONS).unwrap();
    let all = || published(&transport).values().map(Vec::len).sum::<usize>();
    let (mut looks, mut above) = (0, 0);
    while all() < OUTBOXES * 15 {
        looks += 1;
        above += usize::from(open().await > allowed);
    }
    writing.await.unwrap();
    stop.cancel();
    running.await.unwrap();
    // The server counts a connection for a moment after it was closed.
    assert!(above * 100 < looks, "{above} of {looks} looks saw more than {allowed} connections");
    // All are closed at the end.
    eventually(|| async { open().await == 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outboxes_come_and_go_while_the_pool_runs() {
    let outboxes = Outboxes::create(Backend::Sqlite, 2).await;
    let transport = MemoryTransport::new();
    let pool = RelayPool::new(transport.clone(), config());
    let (running, stop) = start(&pool);
    pool.add("first", options(&outboxes.databases[0]));
    outboxes.publish(0).await;
    eventually(|| async { published(&transport).len() == 1 }).await;
    assert!(pool.remove("first"));
    assert!(!pool.remove("first"));
    assert!(pool.add("second", options(&outboxes.databases[1])));
    assert!(!pool.add("second", options(&outboxes.databases[1])), "the same again");
    eventually(|| async { published(&transport).len() == 2 }).await;
    outboxes.publish(1).await;
    eventually(|| async { published(&transport)["key-1"] == [0, 1] }).await;
    assert_eq!(published(&transport)["key-0"], [0], "what was taken out is not relayed");
    assert_eq!(pool.status().len(), 1);
    stop.cancel();
    running.await.unwrap();
}

/// As two processes have them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pools_on_the_same_outboxes_share_the_work_and_keep_the_order() {
    if !Backend::Postgres.is_available("two_pools_on_the_same_outboxes") {
        return;
    }
    let outboxes = Outboxes::create(Backend::Postgres, 4).await;
    let transport = MemoryTransport::new();
    let pools = [(); 2].map(|()| {
        let mut config = config().max_connections(2);
        config.relay.owner = Uuid::now_v7().to_string();
        let pool = RelayPool::new(transport.clone(), config);
        outboxes.add_to(&pool);
        pool
    });
    let running = pools.each_ref().map(start);
    for number in 0..EVENTS {
        outboxes.publish(number).await;
    }
    let all = || published(&transport).values().map(|numbers| firsts(numbers).len()).sum::<usize>();
    eventually(|| async { all() == 4 * EVENTS as usize }).await;
    for (running, stop) in running {
        stop.cancel();
        running.await.unwrap();
    }
    for (key, numbers) in published(&transport) {
        assert_eq!(firsts(&numbers), (0..EVENTS).collect::<Vec<_>>(), "{key}");
    }
    for pool in pools {
        assert!(pool.status().iter().all(|outbox| outbox.trouble.is_none()), "{pool:?}");
    }
}

/// Nothing of it is new in the log, where a visit looks: it is found by the upkeep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_about_a_parked_event_is_taken_up_and_what_is_old_goes() {
    let outboxes = Outboxes::create(Backend::Sqlite, 2).await;
    let transport = MeddledTransport::default();
    transport.refuse(["\"number\":0}".to_owned()]);
    let pool = RelayPool::new(transport.clone(), config().max_connections(1));
    outboxes.add_to(&pool);
    outboxes.publish(0).await;
    let (running, stop) = start(&pool);
    let databases = &outboxes.databases;
    for database in databases {
        eventually(|| async { parked_events(&database.db).await.unwrap().len() == 1 }).await;
    }
    outboxes.publish(1).await;
    for database in databases {
        eventually(|| async { parked_events(&database.db).await.unwrap().len() == 2 }).await;
        let age = "UPDATE rustok_outbox SET created_at = created_at - 172800000000";
        database.db.execute_unprepared(age).await.unwrap();
    }
    assert!(published(&transport.broker).is_empty());
    transport.refuse([]);
    for database in databases {
        let parked = parked_events(&database.db).await.unwrap();
        assert!(retry_parked(&database.db, parked[0].id).await.unwrap());
    }
    for (place, database) in databases.iter().enumerate() {
        let key = format!("key-{place}");
        eventually(|| async {
            published(&transport.broker).get(&key).is_some_and(|numbers| numbers[..] == [0, 1])
        })
        .await;
        eventually(|| async { database.count("SELECT COUNT(*) FROM rustok_outbox").await == 0 })
            .await;
    }
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delayed_events_come_when_they_are_due() {
    let outboxes = Outboxes::create(Backend::Sqlite, 4).await;
    let transport = MemoryTransport::new();
    let pool = RelayPool::new(transport.clone(), config().max_connections(1));
    outboxes.add_to(&pool);
    let (running, stop) = start(&pool);
    let due = Utc::now() + Duration::from_millis(700);
    for (place, database) in outboxes.databases.iter().enumerate() {
        let txn = database.db.begin().await.unwrap();
        let event = Pooled { key: format!("key-{place}"), number: 0 };
        let bus = TransactionalEventBus::new();
        bus.publish_at(&txn, Uuid::from_u128(1), None, due, event).await.unwrap();
        txn.commit().await.unwrap();
    }
    eventually(|| async { published(&transport).len() == 4 }).await;
    assert!(Utc::now() >= due);
    stop.cancel();
    running.await.unwrap();
}
