//! The whole road, from the transaction to the handler, with Iggy in the middle.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use iggy::prelude::{AutoCommit, Client as _, IggyDuration};
use rustok_events::{
    DomainEvent, EventDescriptor, EventRuntime, Key, Relay, RelayConfig, TransactionalEventBus,
    handler::{EventHandler, HandlerOptions, RetryPolicy, Transactional},
    iggy::IggyTransport,
    prelude::*,
};
use rustok_events_tests::{Backend, eventually, rows};
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::broker::Broker;

const TENANT: Uuid = Uuid::from_u128(1);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Counted {
    key: String,
    number: u32,
}

impl DomainEvent for Counted {
    const STREAM: &'static str = "test";
    const TOPIC: &'static str = "counts";
    const DESCRIPTORS: &'static [EventDescriptor] =
        &[EventDescriptor::new("counted", 1, "test", "counts").partitions(4)];

    fn descriptor(&self) -> &'static EventDescriptor {
        &Self::DESCRIPTORS[0]
    }

    fn partition_key(&self) -> Key<'_> {
        Key::of(&self.key)
    }
}

/// Held by who uses the stream of [`Counted`], which a shared server has once.
static STREAM: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Writes each event it sees into a table.
struct Record;

impl EventHandler<()> for Record {
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
        ctx: &mut HandlerContext<'_, ()>,
        input: Envelope<Counted>,
    ) -> HandlerResult {
        let sql = format!(
            "INSERT INTO ledger (event_key, number) VALUES ('{}', {})",
            input.event.key, input.event.number
        );
        ctx.tx().execute_unprepared(&sql).await?;
        Ok(())
    }
}

async fn publish(db: &sea_orm::DatabaseConnection, key: &str, number: u32) -> EventId {
    let bus = TransactionalEventBus::new();
    let txn = db.begin().await.unwrap();
    let event = Counted { key: key.to_owned(), number };
    let id = bus.publish_in_tx(&txn, TENANT, None, event).await.unwrap();
    bus.commit(txn).await.unwrap();
    id
}

async fn ledger(db: &sea_orm::DatabaseConnection) -> Vec<(String, u32)> {
    rows(db, "SELECT event_key, number FROM ledger ORDER BY id").await
}

pub(crate) async fn events_are_handled_once_in_order_of_their_keys(broker: Broker) {
    let _alone = STREAM.lock().await;
    remove_events(&broker).await;
    let database = Backend::Sqlite.create().await;
    let db = database.db.clone();
    // Two lives of the program: the second goes on where the first stopped.
    for life in 0..2_u32 {
        let token = CancellationToken::new();
        let transport = broker.transport().await;
        let runtime =
            EventRuntime::builder(db.clone()).transport(transport.clone()).handler(Record);
        let running = tokio::spawn(runtime.build().unwrap().run(token.clone()));
        for number in life * 100..(life + 1) * 100 {
            publish(&db, ["a", "b", "c"][number as usize % 3], number).await;
        }
        eventually(|| async { ledger(&db).await.len() == (life as usize + 1) * 100 }).await;
        token.cancel();
        running.await.unwrap().unwrap();
        transport.shutdown().await.unwrap();
    }
    for key in ["a", "b", "c"] {
        let of_key = ledger(&db).await.into_iter().filter(|(k, _)| k == key);
        let numbers: Vec<u32> = of_key.map(|(_, number)| number).collect();
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
    remove_events(&broker).await;
}

pub(crate) async fn two_services_share_the_work_and_do_it_once(broker: Broker) {
    let _alone = STREAM.lock().await;
    remove_events(&broker).await;
    let database = Backend::Sqlite.create().await;
    let db = database.db.clone();
    let start = |transport: IggyTransport| {
        let token = CancellationToken::new();
        let runtime = EventRuntime::builder(db.clone()).transport(transport).handler(Record);
        (tokio::spawn(runtime.build().unwrap().run(token.clone())), token)
    };
    let first = start(broker.transport().await);
    let second_transport = broker.transport().await;
    let mut second = None;
    for number in 0..300_u32 {
        publish(&db, ["a", "b", "c", "d", "e"][number as usize % 5], number).await;
        // One joins while there is work, and leaves while there is work.
        if number == 100 {
            second = Some(start(second_transport.clone()));
        }
        if number == 200
            && let Some((running, token)) = second.take()
        {
            token.cancel();
            running.await.unwrap().unwrap();
        }
    }
    let begun = Instant::now();
    let handled = || async { ledger(&db).await.len() };
    while handled().await < 300 && begun.elapsed() < Duration::from_mins(1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("two services: the rest was handled within {:?}", begun.elapsed());
    first.1.cancel();
    first.0.await.unwrap().unwrap();
    let ledger = ledger(&db).await;
    for key in ["a", "b", "c", "d", "e"] {
        let numbers: Vec<u32> =
            ledger.iter().filter(|(k, _)| k == key).map(|(_, number)| *number).collect();
        let expected: Vec<u32> = (0..300)
            .filter(|number| ["a", "b", "c", "d", "e"][*number as usize % 5] == key)
            .collect();
        assert_eq!(numbers, expected, "{key}: each once, in order");
    }
    remove_events(&broker).await;
}

/// The events lie in the stream they declare, which a shared server may hold of earlier runs.
async fn remove_events(broker: &Broker) {
    broker.with_stream(Counted::STREAM).clean_up().await;
}

pub(crate) async fn an_independent_client_reads_the_events(broker: Broker) {
    let _alone = STREAM.lock().await;
    remove_events(&broker).await;
    let database = Backend::Sqlite.create().await;
    let db = database.db.clone();
    let id = publish(&db, "a", 7).await;
    let transport = broker.transport().await;
    let relay = Relay::new(db, transport.clone(), RelayConfig::default());
    assert_eq!(relay.drain().await.unwrap().published, 1);
    transport.shutdown().await.unwrap();

    // From here on nothing but the SDK.
    let client = broker.plain_client().await;
    let mut consumer = client
        .consumer_group("independent", "test", "counts")
        .unwrap()
        .auto_commit(AutoCommit::Disabled)
        .poll_interval(IggyDuration::from(1_000))
        .build();
    consumer.init().await.unwrap();
    let received = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await;
    let received = received.unwrap().unwrap().unwrap();
    let payload: serde_json::Value = serde_json::from_slice(&received.message.payload).unwrap();
    assert_eq!(payload, serde_json::json!({ "key": "a", "number": 7 }));
    assert_eq!(received.message.header.id, id.as_uuid().as_u128());
    let headers: BTreeMap<_, _> = received
        .message
        .user_headers_map()
        .unwrap()
        .unwrap()
        .into_iter()
        .map(|(name, value)| {
            (name.as_str().unwrap().to_owned(), value.as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [
        ("ce-id", id.to_string()),
        ("ce-type", "counted".to_owned()),
        ("ce-source", "/test/counts".to_owned()),
        ("ce-specversion", "1.0".to_owned()),
        ("ce-dataversion", "1".to_owned()),
        ("ce-tenantid", TENANT.to_string()),
        ("ce-partitionkey", "a".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    for (name, value) in expected {
        assert_eq!(headers.get(name), Some(&value), "{name}: {headers:?}");
    }
    assert!(headers["ce-time"].ends_with('Z'), "{headers:?}");
    drop(consumer);
    client.shutdown().await.unwrap();
    remove_events(&broker).await;
}
