//! The known ways to lose an event or to turn the order of a key around, by name. Where a simpler relay would fall
//! for one, the test builds that relay too and shows that it does.

use std::{future::Future, time::Duration};

use rustok_events::{
    Clock, DomainEvent, EventDescriptor, Key, PublishError, Relay, RelayConfig,
    TransactionalEventBus,
    prelude::*,
    testing::{Fault, Faults, MemoryTransport},
    transport::TopicName,
};
use rustok_events_tests::{Backend, TestDatabase, on_every_database, rows};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, Statement,
    TransactionTrait,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(1);
const LEASE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Numbered {
    key: String,
    number: u32,
}

const NUMBERED: EventDescriptor =
    EventDescriptor::new("numbered", 1, "test", "numbers").partitions(1);

impl DomainEvent for Numbered {
    const STREAM: &'static str = "test";
    const TOPIC: &'static str = "numbers";
    const DESCRIPTORS: &'static [EventDescriptor] = &[NUMBERED];

    fn descriptor(&self) -> &'static EventDescriptor {
        &Self::DESCRIPTORS[0]
    }

    fn partition_key(&self) -> Key<'_> {
        Key::of(&self.key)
    }
}

async fn publish(txn: &DatabaseTransaction, key: &str, number: u32) {
    let event = Numbered { key: key.to_owned(), number };
    let bus = TransactionalEventBus::new();
    bus.publish_in_tx(txn, TENANT, None, event).await.expect("the event is written");
}

async fn publish_alone(db: &DatabaseConnection, key: &str, number: u32) {
    let txn = db.begin().await.unwrap();
    publish(&txn, key, number).await;
    txn.commit().await.unwrap();
}

fn number(payload: &[u8]) -> u32 {
    serde_json::from_slice::<Numbered>(payload).expect("the payload is a number").number
}

/// What arrived, each at its first copy.
fn arrived(transport: &MemoryTransport) -> Vec<u32> {
    let mut numbers = Vec::new();
    for message in transport.messages(&TopicName::new("test", "numbers")).into_iter().flatten() {
        let number = number(&message.payload);
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    numbers
}

fn relay(db: &DatabaseConnection, transport: &MemoryTransport) -> Relay {
    Relay::new(db.clone(), transport.clone(), RelayConfig::default())
}

/// A relay that follows a cursor over ids.
#[derive(Default)]
struct ById {
    cursor: i64,
}

impl ById {
    async fn read(&mut self, db: &DatabaseConnection) -> Vec<u32> {
        let sql =
            format!("SELECT id, payload FROM rustok_outbox WHERE id > {} ORDER BY id", self.cursor);
        let read: Vec<(i64, Vec<u8>)> = rows(db, &sql).await;
        self.cursor = read.last().map_or(self.cursor, |(id, _)| *id);
        read.iter().map(|(_, payload)| number(payload)).collect()
    }
}

/// A relay that reads what no open transaction can precede, in the order of transactions.
async fn read_by_transaction(db: &DatabaseConnection) -> Vec<u32> {
    let sql = "SELECT payload FROM rustok_outbox
                WHERE txid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY txid, id";
    rows::<(Vec<u8>,)>(db, sql).await.iter().map(|(payload,)| number(payload)).collect()
}

async fn postgres(test: &str) -> Option<TestDatabase> {
    let is_there = Backend::Postgres.is_available(test);
    if is_there { Some(Backend::Postgres.create().await) } else { None }
}

#[tokio::test]
async fn a_transaction_that_takes_its_id_early_and_writes_its_key_late() {
    let Some(database) = postgres("a_transaction_that_takes_its_id_early").await else { return };
    let (db, transport) = (&database.db, MemoryTransport::new());
    let early = db.begin().await.unwrap();
    early.execute_unprepared("SELECT pg_current_xact_id()").await.unwrap();
    publish_alone(db, "a", 1).await;
    // The other is committed: this one comes after it.
    publish(&early, "a", 2).await;
    early.commit().await.unwrap();
    relay(db, &transport).drain().await.unwrap();
    assert_eq!(arrived(&transport), [1, 2]);
    // Held back by a transaction anywhere in the cluster, it may have to look again.
    let mut naive = Vec::new();
    for _ in 0..200 {
        naive = read_by_transaction(db).await;
        if naive.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(naive, [2, 1], "a relay in the order of transactions turns them around");
}

on_every_database! {
async fn a_lower_id_that_commits_later(database) {
    let (db, transport) = (&database.db, MemoryTransport::new());
    let relay = relay(db, &transport);
    let mut naive = ById::default();
    let first = db.begin().await.unwrap();
    publish(&first, "a", 1).await;
    if database.backend() == Backend::Sqlite {
        // One writer at a time: the higher id has to wait for the lower.
        let second = tokio::spawn({
            let db = db.clone();
            async move { publish_alone(&db, "b", 2).await }
        });
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(!second.is_finished());
        first.commit().await.unwrap();
        second.await.unwrap();
        relay.drain().await.unwrap();
        assert_eq!(arrived(&transport), [1, 2]);
        return;
    }
    publish_alone(db, "b", 2).await;
    relay.drain().await.unwrap();
    assert_eq!(naive.read(db).await, [2]);
    first.commit().await.unwrap();
    relay.drain().await.unwrap();
    assert_eq!(arrived(&transport), [2, 1]);
    assert!(naive.read(db).await.is_empty(), "a relay that follows ids never sees it");
}
}

on_every_database! {
async fn an_inserted_row_that_waits_after_taking_its_id(database) {
    let (db, transport) = (&database.db, MemoryTransport::new());
    let relay = relay(db, &transport);
    publish_alone(db, "x", 0).await;
    db.execute_unprepared("INSERT INTO ledger (event_key, number) VALUES ('a', 0)").await.unwrap();
    let update = "UPDATE ledger SET number = number + 1 WHERE event_key = 'a'";
    let holder = db.begin().await.unwrap();
    holder.execute_unprepared(update).await.unwrap();
    let waiting = tokio::spawn({
        let db = db.clone();
        async move {
            let txn = db.begin().await.unwrap();
            publish(&txn, "b", 1).await;
            txn.execute_unprepared(update).await.unwrap();
            publish(&txn, "a", 3).await;
            txn.commit().await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    publish(&holder, "a", 2).await;
    holder.commit().await.unwrap();
    relay.drain().await.unwrap();
    waiting.await.unwrap();
    relay.drain().await.unwrap();
    let arrived = arrived(&transport);
    let place = |number| arrived.iter().position(|found| *found == number).expect("it arrived");
    assert_eq!(arrived.len(), 4, "{arrived:?}");
    assert!(place(2) < place(3), "the lock ordered them: {arrived:?}");
}
}

/// Relays that run on a clock moved by hand.
struct Relays {
    database: TestDatabase,
    transport: MemoryTransport,
    clock: Clock,
}

struct Running {
    token: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.token.cancel();
        self.task.await.expect("the relay does not panic");
    }

    /// Ended where it stands, as by `kill -9`.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl Relays {
    fn new(database: TestDatabase) -> Self {
        Self { database, transport: MemoryTransport::new(), clock: Clock::manual() }
    }

    fn start(&self, owner: &str, faults: Faults) -> Running {
        let faults = faults.clock(self.clock.clone()).pause(PAUSE);
        let mut config = RelayConfig::default()
            .lease(LEASE)
            .page_size(2)
            .clock(self.clock.clone())
            .faults(faults);
        owner.clone_into(&mut config.owner);
        let relay = Relay::new(self.database.db.clone(), self.transport.clone(), config);
        let token = CancellationToken::new();
        let run = relay.run(token.clone());
        let task = tokio::spawn(async move { run.await.expect("the relay stops well") });
        Running { token, task }
    }

    async fn publish(&self, numbers: std::ops::RangeInclusive<u32>) {
        for number in numbers {
            publish_alone(&self.database.db, "a", number).await;
        }
    }

    /// Moves the clock step by step until a condition holds.
    async fn until<F: Future<Output = bool>>(&self, what: &str, mut condition: impl FnMut() -> F) {
        for _ in 0..4000 {
            if condition().await {
                return;
            }
            self.clock.advance(Duration::from_millis(100));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never: {what}; arrived: {:?}", arrived(&self.transport));
    }

    async fn until_arrived(&self, last: u32) {
        self.until(&format!("{last} arrives"), || async {
            arrived(&self.transport).contains(&last)
        })
        .await;
    }

    async fn until_met(&self, faults: &Faults) {
        self.until("the relay sleeps", || async { !faults.met().is_empty() }).await;
    }

    fn assert_in_order(&self, last: u32) {
        assert_eq!(arrived(&self.transport), (1..=last).collect::<Vec<_>>());
    }
}

/// A relay sleeps at a point, another takes over, the first wakes; with or without events in the meantime.
async fn sleeps_past_its_lease(database: TestDatabase, point: &str, meanwhile: bool) {
    let relays = Relays::new(database);
    relays.publish(1..=5).await;
    let faults = Faults::none().inject(point, 1, Fault::Pause);
    let sleeper = relays.start("sleeper", faults.clone());
    relays.until_met(&faults).await;
    let successor = relays.start("successor", Faults::none());
    relays.until_arrived(5).await;
    let last = if meanwhile { 8 } else { 5 };
    relays.publish(6..=last).await;
    relays.until_arrived(last).await;
    let woken = relays.clock.now() + PAUSE + LEASE;
    relays.until("the sleeper wakes", || async { relays.clock.now() > woken }).await;
    relays.publish(last + 1..=last + 4).await;
    relays.until_arrived(last + 4).await;
    relays.assert_in_order(last + 4);
    sleeper.stop().await;
    successor.stop().await;
}

on_every_database! {
async fn a_relay_that_sleeps_past_its_lease_between_reading_and_publishing(database) {
    sleeps_past_its_lease(database, "relay.read.after", true).await;
}
}

on_every_database! {
async fn a_relay_that_sleeps_past_its_lease_between_publishing_and_advancing(database) {
    sleeps_past_its_lease(database, "relay.advance.before", true).await;
}
}

on_every_database! {
async fn a_relay_that_sleeps_in_the_middle_of_a_window_that_another_finishes(database) {
    sleeps_past_its_lease(database, "relay.advance.before", false).await;
}
}

on_every_database! {
async fn a_zombie_that_wakes_after_two_take_overs(database) {
    let relays = Relays::new(database);
    relays.publish(1..=3).await;
    let faults = Faults::none().inject("relay.advance.before", 1, Fault::Pause);
    let zombie = relays.start("zombie", faults.clone());
    relays.until_met(&faults).await;
    let second = relays.start("second", Faults::none());
    relays.until_arrived(3).await;
    relays.publish(4..=5).await;
    relays.until_arrived(5).await;
    second.kill().await;
    relays.publish(6..=7).await;
    let third = relays.start("third", Faults::none());
    relays.until_arrived(7).await;
    let woken = relays.clock.now() + PAUSE + LEASE;
    relays.until("the zombie wakes", || async { relays.clock.now() > woken }).await;
    relays.publish(8..=10).await;
    relays.until_arrived(10).await;
    relays.assert_in_order(10);
    zombie.stop().await;
    third.stop().await;
}
}

on_every_database! {
async fn a_window_of_exactly_one_page_and_of_one_more_or_less(database) {
    let (db, transport) = (&database.db, MemoryTransport::new());
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default().page_size(3));
    let mut last = 0;
    for size in [2_u32, 3, 4, 6, 7] {
        let txn = db.begin().await.unwrap();
        for _ in 0..size {
            last += 1;
            publish(&txn, "a", last).await;
        }
        txn.commit().await.unwrap();
        assert_eq!(relay.drain().await.unwrap().published, u64::from(size));
        assert_eq!(arrived(&transport), (1..=last).collect::<Vec<_>>());
    }
}
}

on_every_database! {
async fn parts_without_events(database) {
    let (db, transport) = (&database.db, MemoryTransport::new());
    let relay = relay(db, &transport);
    // Long after others, the first event of a key whose part never had one.
    for number in 1..=20 {
        publish_alone(db, "a", number).await;
        relay.drain().await.unwrap();
    }
    for (number, key) in (21..=60).zip(b'b'..) {
        publish_alone(db, &char::from(key).to_string(), number).await;
    }
    assert_eq!(relay.drain().await.unwrap().published, 40);
    let mut arrived = arrived(&transport);
    arrived.sort_unstable();
    assert_eq!(arrived, (1..=60).collect::<Vec<_>>());
}
}

#[tokio::test]
async fn a_long_open_write_transaction_in_another_database_of_the_cluster() {
    let Some(database) = postgres("a_long_open_write_transaction").await else { return };
    let (db, transport) = (&database.db, MemoryTransport::new());
    let (server, _) = database.url.rsplit_once('/').expect("the URL names a database");
    let mut options = ConnectOptions::new(format!("{server}/postgres"));
    options.max_connections(1).sqlx_logging(false);
    let elsewhere = Database::connect(options).await.unwrap();
    let long = elsewhere.begin().await.unwrap();
    long.execute_unprepared("SELECT pg_current_xact_id()").await.unwrap();
    publish_alone(db, "a", 1).await;
    assert_eq!(relay(db, &transport).drain().await.unwrap().published, 1);
    assert_eq!(arrived(&transport), [1]);
    let naive = read_by_transaction(db).await;
    assert!(naive.is_empty(), "a relay behind the oldest open transaction stands still");
    long.rollback().await.unwrap();
}

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
}
}

/// On MySQL a query that is dropped while its statement is prepared can cost the pool a connection, whoever drops it,
/// so a pool of one would say nothing of the relay.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_dropped_while_it_begins_a_transaction() {
    const DROPS: u32 = 150;
    for backend in Backend::available("a_relay_that_is_dropped") {
        if backend == Backend::MySql {
            continue;
        }
        let (database, transport) = (backend.create().await, MemoryTransport::new());
        // One connection: what the relay leaves behind is what comes next.
        let pool = database.connect_with(1).await;
        for drop_number in 0..DROPS {
            let run = relay(&pool, &transport).run(CancellationToken::new());
            let patience = Duration::from_micros(u64::from(drop_number) * 40);
            assert!(
                tokio::time::timeout(patience, run).await.is_err(),
                "it runs until it is dropped"
            );
            let insert =
                format!("INSERT INTO ledger (event_key, number) VALUES ('a', {drop_number})");
            pool.execute_unprepared(&insert).await.unwrap();
        }
        // Another connection sees what was committed, and nothing that lies in a transaction left open.
        assert_eq!(database.count("SELECT COUNT(*) FROM ledger").await, i64::from(DROPS));
        pool.close().await.unwrap();
    }
}
