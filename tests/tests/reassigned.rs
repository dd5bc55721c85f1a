//! A partition that goes to another member of the group and comes back before anybody looked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustok_events::{
    Clock, ConsumerConfig, ConsumerRuntime, DomainEvent, EventDescriptor, EventTransport, Key,
    Relay, RelayConfig, TransactionalEventBus,
    handler::{EventHandler, Transactional},
    prelude::*,
    testing::{Fault, Faults, MemoryTransport},
    transport::{StartFrom, TopicName},
};
use rustok_events_tests::{eventually, on_every_database};
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Its key lies on the second of two partitions, which a second member takes over.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Counted {
    number: u32,
}

impl DomainEvent for Counted {
    const STREAM: &'static str = "test";
    const TOPIC: &'static str = "counted";
    const DESCRIPTORS: &'static [EventDescriptor] =
        &[EventDescriptor::new("counted", 1, "test", "counted").partitions(2)];

    fn descriptor(&self) -> &'static EventDescriptor {
        &Self::DESCRIPTORS[0]
    }

    fn partition_key(&self) -> Key<'_> {
        Key::of("abc")
    }
}

/// Waits at the gate, then writes down what it was given.
struct Record;

struct Gate {
    calls: AtomicU32,
    open: watch::Sender<bool>,
}

impl EventHandler<Arc<Gate>> for Record {
    const GROUP: &'static str = "recorders";
    const NAME: &'static str = "record";
    type Input = Counted;
    type Mode = Transactional;

    async fn handle(
        &self,
        ctx: &mut HandlerContext<'_, Arc<Gate>>,
        event: Counted,
    ) -> HandlerResult {
        ctx.state().calls.fetch_add(1, Ordering::Relaxed);
        ctx.state().open.subscribe().wait_for(|open| *open).await?;
        let sql = format!("INSERT INTO ledger (event_key, number) VALUES ('', {})", event.number);
        ctx.tx().execute_unprepared(&sql).await?;
        Ok(())
    }
}

on_every_database! {
async fn nothing_that_was_handed_out_is_passed_over(database) {
    const EVENTS: u32 = 6;
    let (db, transport, clock) = (&database.db, MemoryTransport::new(), Clock::manual());
    let txn = db.begin().await.unwrap();
    let events = (0..EVENTS).map(|number| Counted { number });
    let bus = TransactionalEventBus::new();
    bus.publish_all_in_tx(&txn, Uuid::from_u128(1), None, events).await.unwrap();
    txn.commit().await.unwrap();
    Relay::new(db.clone(), transport.clone(), RelayConfig::default()).drain().await.unwrap();
    let topic = TopicName::new("test", "counted");
    assert_eq!(transport.messages(&topic)[1].len(), EVENTS as usize);

    let faults = Faults::none().inject("consumer.acknowledge.after", 1, Fault::Pause);
    let faults = faults.clock(clock.clone());
    let mut config = ConsumerConfig::default().faults(faults.clone());
    config.batch_size = 1;
    let gate = Arc::new(Gate { calls: AtomicU32::new(0), open: watch::Sender::new(false) });
    let consumers = ConsumerRuntime::builder(db.clone(), transport.clone())
        .state(Arc::clone(&gate))
        .handler(Record)
        .config(config)
        .build()
        .unwrap();
    let token = CancellationToken::new();
    let running = tokio::spawn(consumers.run(token.clone()));
    eventually(|| async { gate.calls.load(Ordering::Relaxed) == 1 }).await;
    // The first is being handled; some of the others are handed out by now and wait.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let other = transport.subscribe("recorders", &topic, StartFrom::Beginning).await.unwrap();
    gate.open.send_replace(true);
    // The first is handled, and the partition is another's: its offset cannot be stored.
    eventually(|| async { faults.met().len() == 1 }).await;
    assert_eq!(transport.stored_offsets("recorders", &topic), [0, 0]);
    drop(other);
    clock.advance(Duration::from_mins(1));
    eventually(|| async {
        transport.stored_offsets("recorders", &topic)[1] == u64::from(EVENTS)
    })
    .await;
    token.cancel();
    running.await.unwrap().unwrap();
    let numbers: Vec<i64> = database.ledger().await.into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, (0..i64::from(EVENTS)).collect::<Vec<_>>());
}
}
