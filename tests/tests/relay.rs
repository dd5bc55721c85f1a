//! What the relay does when not all goes well: refused events, operators' decisions, several relays.

use std::time::{Duration, Instant};

use rustok_events::{
    DomainEvent, EventDescriptor, Key, Relay, RelayConfig, TransactionalEventBus,
    outbox::{discard_parked, parked_events, retry_parked},
    testing::{Fault, Faults},
    transport::OutgoingMessage,
};
use rustok_events_tests::{
    Backend, MeddledTransport, TestDatabase, eventually, on_every_database, rows,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(1);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Counted {
    key: Option<String>,
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
        self.key.as_ref().map_or(Key::None, Key::of)
    }
}

/// Its number comes last, by which it is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, rustok_events::DomainEvent)]
#[domain_event(stream = "test", topic = "notes", partition_key = key, partitions = 4)]
struct Noted {
    key: String,
    text: String,
    number: u32,
}

/// A broker that refuses events of these numbers.
fn refusing(numbers: &[u32]) -> MeddledTransport {
    let transport = MeddledTransport::default();
    transport.refuse(numbers.iter().map(|number| format!("\"number\":{number}}}")));
    transport
}

/// The numbers of what it took, in the order it came.
fn published(transport: &MeddledTransport) -> Vec<u32> {
    let number = |message: &OutgoingMessage| {
        serde_json::from_slice::<Counted>(&message.payload).unwrap().number
    };
    transport.taken().iter().map(number).collect()
}

async fn publish(db: &DatabaseConnection, events: &[(&str, u32)]) {
    let bus = TransactionalEventBus::new();
    for &(key, number) in events {
        let key = (!key.is_empty()).then(|| key.to_owned());
        let txn = db.begin().await.unwrap();
        bus.publish_in_tx(&txn, TENANT, None, Counted { key, number }).await.unwrap();
        txn.commit().await.unwrap();
    }
}

/// Of some numbers, those that were published, each at its first time.
fn firsts(published: &[u32], of: &[u32]) -> Vec<u32> {
    let mut firsts = Vec::new();
    for number in published.iter().filter(|number| of.contains(number)) {
        if !firsts.contains(number) {
            firsts.push(*number);
        }
    }
    firsts
}

on_every_database! {
async fn a_refused_event_parks_its_key_and_no_other(database) {
    let db = &database.db;
    let transport = refusing(&[2]);
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default());
    publish(db, &[("a", 1), ("b", 11), ("a", 2), ("a", 3), ("b", 12), ("c", 21)]).await;
    let report = relay.drain().await.unwrap();
    assert_eq!((report.published, report.parked), (4, 2));
    // A later event of the key waits too, also at a relay that comes later.
    publish(db, &[("a", 4), ("b", 13)]).await;
    let second = Relay::new(db.clone(), transport.clone(), RelayConfig::default());
    assert_eq!(second.drain().await.unwrap().parked, 1);
    assert_eq!(firsts(&published(&transport), &[1, 2, 3, 4]), [1]);
    assert_eq!(firsts(&published(&transport), &[11, 12, 13, 21]).len(), 4);

    let parked = parked_events(db).await.unwrap();
    let refusals: Vec<bool> = parked.iter().map(|event| event.refusal.is_some()).collect();
    assert_eq!(refusals, [true, false, false]);
    let refusal = parked[0].refusal.as_ref().unwrap();
    assert!(refusal.contains("not this one: \u{1F980}"), "whatever its length");
    assert_eq!(parked[0].payload, br#"{"key":"a","number":2}"#);
    assert!(!retry_parked(db, parked[1].id).await.unwrap(), "only a refused event can be retried");

    // Refused again: everything stays as it is.
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    assert!(retry_parked(db, parked[0].id).await.unwrap());
    eventually(|| async { parked_events(db).await.unwrap()[0].refusal.is_some() }).await;
    assert_eq!(firsts(&published(&transport), &[2, 3, 4]), [0_u32; 0]);
    // The broker takes it now: the key goes on in order.
    transport.refuse([]);
    assert!(retry_parked(db, parked[0].id).await.unwrap());
    eventually(|| async { parked_events(db).await.unwrap().is_empty() }).await;
    publish(db, &[("a", 5)]).await;
    eventually(|| async { published(&transport).contains(&5) }).await;
    assert_eq!(firsts(&published(&transport), &[1, 2, 3, 4, 5]), [1, 2, 3, 4, 5]);
    stop.cancel();
    running.await.unwrap().unwrap();
}
}

on_every_database! {
async fn a_discarded_event_is_never_published_and_its_key_goes_on(database) {
    let db = &database.db;
    let transport = refusing(&[1, 7]);
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default());
    publish(db, &[("a", 1), ("a", 2), ("", 7), ("", 8)]).await;
    assert_eq!(relay.drain().await.unwrap().parked, 3);
    assert_eq!(published(&transport), [8], "without a key nothing waits");
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    let parked = parked_events(db).await.unwrap();
    let first = parked.iter().find(|event| event.payload == br#"{"key":"a","number":1}"#).unwrap();
    assert!(discard_parked(db, first.id, "the order was a test").await.unwrap());
    eventually(|| async { published(&transport).contains(&2) }).await;
    let keyless = parked.iter().find(|event| event.partition_key.is_none()).unwrap();
    transport.refuse([]);
    assert!(retry_parked(db, keyless.id).await.unwrap());
    eventually(|| async { parked_events(db).await.unwrap().is_empty() }).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(firsts(&published(&transport), &[1, 2, 7, 8]), [8, 2, 7]);
}
}

on_every_database! {
async fn a_long_key_is_parked_and_taken_up_whole(database) {
    // Of more rows, and of more bytes, than one statement parks.
    const EVENTS: u32 = 1200;
    let db = &database.db;
    let transport = refusing(&[0]);
    let long = |number| format!("{}{}", number % 7, "-".repeat(2000));
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default());
    let txn = db.begin().await.unwrap();
    let events = (0..EVENTS).map(|number| Noted { key: "a".to_owned(), text: long(number), number });
    TransactionalEventBus::new().publish_all_in_tx(&txn, TENANT, None, events).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(relay.drain().await.unwrap().parked, u64::from(EVENTS));
    let numbers = |payloads: Vec<Vec<u8>>| -> Vec<u32> {
        let number = |payload: &Vec<u8>| {
            let Noted { number, text, .. } = serde_json::from_slice(payload).unwrap();
            assert_eq!(text, long(number));
            number
        };
        payloads.iter().map(number).collect()
    };
    let parked = parked_events(db).await.unwrap();
    let first = parked[0].id;
    let all: Vec<u32> = (0..EVENTS).collect();
    assert_eq!(numbers(parked.into_iter().map(|event| event.payload).collect()), all);
    transport.refuse([]);
    assert!(retry_parked(db, first).await.unwrap());
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    eventually(|| async { parked_events(db).await.unwrap().is_empty() }).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let taken = numbers(transport.taken().iter().map(|message| message.payload.to_vec()).collect());
    assert_eq!(firsts(&taken, &all), all);
}
}

on_every_database! {
async fn what_a_broker_that_is_away_cannot_take_stays_in_the_outbox(database) {
    let db = &database.db;
    let transport = MeddledTransport::default();
    transport.set_away(true);
    publish(db, &[("a", 1), ("a", 2)]).await;
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default());
    assert!(relay.drain().await.is_err(), "a drain says that it could not");
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(published(&transport).is_empty());
    transport.set_away(false);
    eventually(|| async { published(&transport) == [1, 2] }).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}
}

on_every_database! {
async fn more_than_a_broker_takes_at_once_goes_out_in_smaller_pages(database) {
    let db = &database.db;
    let transport = MeddledTransport::default();
    transport.set_most(5);
    let events: Vec<(&str, u32)> = (0..40).map(|number| ("a", number)).collect();
    publish(db, &events).await;
    let mut config = RelayConfig::default();
    config.max_backoff = Duration::from_millis(300);
    let stop = CancellationToken::new();
    let running = tokio::spawn(Relay::new(db.clone(), transport.clone(), config).run(stop.clone()));
    eventually(|| async { published(&transport).last() == Some(&39) }).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let numbers: Vec<u32> = (0..40).collect();
    assert_eq!(firsts(&published(&transport), &numbers), numbers);
}
}

/// An event of a million bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, rustok_events::DomainEvent)]
#[domain_event(stream = "test", topic = "scans", partition_key = key, partitions = 4)]
struct Scanned {
    key: String,
    number: u32,
    scan: String,
}

on_every_database! {
async fn what_a_relay_holds_at_once_is_bounded_by_bytes(database) {
    let db = &database.db;
    let transport = MeddledTransport::default();
    let bus = TransactionalEventBus::new();
    let keys = ["a", "b", "c"];
    let txn = db.begin().await.unwrap();
    for (number, key) in (0..48).zip(keys.into_iter().cycle()) {
        let scan = "-".repeat(1_000_000);
        let event = Scanned { key: key.to_owned(), number, scan };
        bus.publish_in_tx(&txn, TENANT, None, event).await.unwrap();
    }
    txn.commit().await.unwrap();
    // What was sent before the first cursor moves is what was held.
    let process = Faults::none().inject("relay.advance.before", 1, Fault::Crash).process();
    let config = RelayConfig::default().lease(Duration::from_secs(1)).faults(process.faults());
    let relay = Relay::new(db.clone(), transport.clone(), config);
    assert!(process.run(relay.drain()).await.is_none());
    let held = transport.taken().len();
    assert!((2..=18).contains(&held), "{held} events were held");
    let relay = Relay::new(db.clone(), transport.clone(), RelayConfig::default());
    relay.drain().await.unwrap();
    let scanned = |message: &OutgoingMessage| serde_json::from_slice(&message.payload).unwrap();
    let taken: Vec<Scanned> = transport.taken().iter().map(scanned).collect();
    for key in keys {
        let of_key = taken.iter().filter(|event| event.key == key).map(|event| event.number);
        let of_key: Vec<u32> = of_key.collect();
        let firsts = firsts(&of_key, &of_key);
        assert_eq!(firsts.len(), 16);
        assert!(firsts.is_sorted(), "{firsts:?}");
    }
}
}

/// What a lane does when it moves cursors while the leases are renewed.
async fn a_lease_whose_row_is_locked_when_it_is_renewed_is_kept(database: TestDatabase) {
    const LEASE: Duration = Duration::from_secs(3);
    let transport = MeddledTransport::default();
    let relay =
        Relay::new(database.db.clone(), transport.clone(), RelayConfig::default().lease(LEASE));
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    publish(&database.db, &[("a", 1)]).await;
    eventually(|| async { published(&transport) == [1] }).await;
    let epochs = "SELECT part, epoch FROM rustok_outbox_cursor ORDER BY part";
    let before: Vec<(i64, i64)> = rows(&database.db, epochs).await;
    let ends = "SELECT MIN(lease_until) FROM rustok_outbox_cursor";
    let end = database.count(ends).await;
    let txn = database.db.begin().await.unwrap();
    txn.execute_unprepared("SELECT part FROM rustok_outbox_cursor FOR UPDATE").await.unwrap();
    // Over one renewal.
    tokio::time::sleep(LEASE / 2).await;
    txn.rollback().await.unwrap();
    let unlocked = Instant::now();
    eventually(|| async { database.count(ends).await > end }).await;
    assert!(unlocked.elapsed() < LEASE / 6, "prolonged {:?} later", unlocked.elapsed());
    publish(&database.db, &[("a", 2)]).await;
    eventually(|| async { published(&transport) == [1, 2] }).await;
    assert_eq!(rows::<(i64, i64)>(&database.db, epochs).await, before, "no part changed hands");
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_whose_row_is_locked_when_it_is_renewed_is_kept_on_postgres() {
    let backend = Backend::Postgres;
    if backend.is_available("a_lease_whose_row_is_locked_when_it_is_renewed_is_kept") {
        a_lease_whose_row_is_locked_when_it_is_renewed_is_kept(backend.create().await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_whose_row_is_locked_when_it_is_renewed_is_kept_on_mysql() {
    let backend = Backend::MySql;
    if backend.is_available("a_lease_whose_row_is_locked_when_it_is_renewed_is_kept") {
        a_lease_whose_row_is_locked_when_it_is_renewed_is_kept(backend.create().await).await;
    }
}
