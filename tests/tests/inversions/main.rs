//! The known ways to lose an event or to turn the order of a key around, by name. Where a simpler relay would fall
//! for one, the test builds that relay too and shows that it does.

mod clusters;
mod commits;
mod pauses;
mod transactions;
mod windows;

use std::time::Duration;

use rustok_events::{
    DomainEvent, EventDescriptor, Key, Relay, RelayConfig, TransactionalEventBus,
    testing::MemoryTransport, transport::TopicName,
};
use sea_orm::{DatabaseConnection, DatabaseTransaction, TransactionTrait};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(1);

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

/// Drains, and not for ever: what a relay cannot find it would wait for.
async fn drain(relay: &Relay) {
    let drained = tokio::time::timeout(Duration::from_secs(20), relay.drain()).await;
    drained.expect("the relay finds what is committed").expect("the relay works");
}
