//! Events that are published later: when they are due, and not before.

use std::{collections::HashSet, time::Duration};

use rustok_events::{
    Clock, Relay, RelayConfig, TransactionalEventBus,
    prelude::*,
    testing::{Fault, Faults, MemoryTransport},
    transport::TopicName,
};
use rustok_events_tests::{eventually, on_every_database};
use sea_orm::{ConnectionTrait, DbBackend, TransactionTrait};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{TENANT, counted, published};

on_every_database! {
async fn a_delayed_event_is_published_when_it_is_due(database) {
    let db = &database.db;
    let transport = MemoryTransport::new();
    let clock = Clock::manual();
    let bus = TransactionalEventBus::new().with_clock(clock.clone());
    let txn = db.begin().await.unwrap();
    for (number, minutes) in [(1, 20), (2, 10), (3, 0), (4, 10)] {
        let due = clock.now() + Duration::from_secs(60 * minutes);
        bus.publish_at(&txn, TENANT, None, due, counted("a", number)).await.unwrap();
    }
    bus.commit(txn).await.unwrap();
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default().clock(clock.clone()));
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    // A lease that runs out under a page at hand repeats it: what counts is when each came first.
    let numbers = || {
        let mut seen = HashSet::new();
        published(&transport).into_iter().filter(|number| seen.insert(*number)).collect::<Vec<_>>()
    };
    eventually(|| async { numbers() == [3] }).await;
    clock.advance(Duration::from_secs(599));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(numbers(), [3], "nothing comes early");
    clock.advance(Duration::from_secs(1));
    eventually(|| async { numbers() == [3, 2, 4] }).await;
    clock.advance(Duration::from_mins(10));
    eventually(|| async { numbers() == [3, 2, 4, 1] }).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(database.count("SELECT COUNT(*) FROM rustok_outbox_delayed").await, 0);
}
}

on_every_database! {
async fn due_events_wait_for_no_open_transaction_that_delays_another(database) {
    let db = &database.db;
    if db.get_database_backend() == DbBackend::Sqlite {
        // One writer: no other transaction is open.
        return;
    }
    let transport = MemoryTransport::new();
    let clock = Clock::manual();
    let bus = TransactionalEventBus::new().with_clock(clock.clone());
    let txn = db.begin().await.unwrap();
    let due = |minutes| clock.now() + Duration::from_mins(minutes);
    for number in 0..3 {
        bus.publish_at(&txn, TENANT, None, due(1), counted("a", number)).await.unwrap();
    }
    bus.commit(txn).await.unwrap();
    if db.get_database_backend() == DbBackend::MySql {
        // Who knows how short the table is deletes by a scan of it, unless told otherwise.
        db.execute_unprepared("ANALYZE TABLE rustok_outbox_delayed").await.unwrap();
    }
    let open = db.begin().await.unwrap();
    bus.publish_at(&open, TENANT, None, due(9), counted("a", 3)).await.unwrap();
    clock.advance(Duration::from_mins(2));
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default().clock(clock.clone()));
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    eventually(|| async { published(&transport) == [0, 1, 2] }).await;
    open.rollback().await.unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();
}
}

on_every_database! {
async fn due_events_that_another_relay_has_begun_to_release_are_left_to_it(database) {
    const LOOKS: u32 = 250;
    let db = &database.db;
    if db.get_database_backend() == DbBackend::Sqlite {
        // One writer: another one's release is over before this one looks.
        return;
    }
    let bus = TransactionalEventBus::new();
    let txn = db.begin().await.unwrap();
    let due = Clock::system().now() + Duration::from_millis(1);
    bus.publish_at(&txn, TENANT, None, due, counted("a", 1)).await.unwrap();
    txn.commit().await.unwrap();
    let transport = MemoryTransport::new();
    let other = db.begin().await.unwrap();
    // What a release begins with.
    let lock = "SELECT name FROM rustok_outbox_meta WHERE name = 'release' FOR UPDATE";
    other.execute_unprepared(lock).await.unwrap();
    let process = Faults::none().inject("relay.release.before", LOOKS, Fault::Crash).process();
    let mut config = RelayConfig::default().faults(process.faults());
    config.max_tick = Duration::from_millis(200);
    let stop = CancellationToken::new();
    let running = Relay::new(db.clone(), transport.clone(), config).run(stop.clone());
    let running = tokio::spawn(async move { process.run(running).await });
    // Ten looks' time, and as many more as other tests delay events in this process. Without a pause there are thousands.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!running.is_finished(), "it looks again and again");
    other.rollback().await.unwrap();
    eventually(|| async { published(&transport) == [1] }).await;
    stop.cancel();
    running.await.unwrap().unwrap().unwrap();
}
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "test", topic = "pages", partition_key = book, partitions = 1)]
struct Page {
    book: u32,
    number: u32,
    text: String,
}

on_every_database! {
async fn due_events_that_fit_into_no_statement_together_are_released(database) {
    let db = &database.db;
    let transport = MemoryTransport::new();
    let clock = Clock::manual();
    let bus = TransactionalEventBus::new().with_clock(clock.clone());
    let due = clock.now() + Duration::from_mins(1);
    // MariaDB takes statements of 16 MiB unless told otherwise.
    let lengths = [9_000_000; 2].into_iter().chain([40_000; 30]);
    for (number, length) in (0..).zip(lengths) {
        let txn = db.begin().await.unwrap();
        let page = Page { book: 1, number, text: "a".repeat(length) };
        bus.publish_at(&txn, TENANT, None, due, page).await.unwrap();
        bus.commit(txn).await.unwrap();
    }
    clock.advance(Duration::from_mins(1));
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default().clock(clock.clone()));
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    let pages = TopicName::new("test", "pages");
    let numbers = || {
        let messages = transport.messages(&pages).into_iter().flatten();
        let pages = messages.map(|message| serde_json::from_slice::<Page>(&message.payload).unwrap());
        pages.map(|page| page.number).collect::<Vec<_>>()
    };
    eventually(|| async { database.count("SELECT COUNT(*) FROM rustok_outbox_delayed").await == 0 }).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    relay.drain().await.unwrap();
    assert_eq!(numbers(), (0..32).collect::<Vec<_>>());
}
}
