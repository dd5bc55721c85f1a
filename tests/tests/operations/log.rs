//! What is kept of the log, what of it is published again, and what is deleted.

use std::time::Duration;

use rustok_events::{
    Relay, RelayConfig,
    outbox::{CleanedUp, republish},
    testing::MemoryTransport,
};
use rustok_events_tests::{Backend, TestDatabase, eventually, on_every_database};
use sea_orm::{ConnectionTrait, IsolationLevel, TransactionTrait};

use crate::{age, publish, published, relay};

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
    let listed = "CREATE TABLE listed AS SELECT * FROM rustok_outbox_pending";
    database.db.execute_unprepared(listed).await.unwrap();
    assert_eq!(relay(&database, &transport).drain().await.unwrap().published, 20);
    age(&database, Duration::from_hours(2)).await;
    publish(&database, 20..21).await;
    // All is listed again but the last event, which is listed already and locked, as by whoever publishes it just now.
    let begin = || database.db.begin_with_config(Some(IsolationLevel::ReadCommitted), None);
    let lane = begin().await.unwrap();
    lane.execute_unprepared("SELECT id FROM rustok_outbox_pending FOR UPDATE").await.unwrap();
    // It is held up in the middle.
    let txn = begin().await.unwrap();
    let list = "INSERT INTO rustok_outbox_pending SELECT * FROM listed ORDER BY id DESC LIMIT 1";
    txn.execute_unprepared(list).await.unwrap();
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
    let again = tokio::time::timeout(Duration::from_secs(10), again).await;
    assert_eq!(again.expect("it waits for no lane").unwrap().unwrap(), 21);
    lane.rollback().await.unwrap();
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
