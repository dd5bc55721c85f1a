//! An event of an older version reaches a handler of the newest through the whole chain: live, from a dead letter,
//! and in a replay.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use rustok_events::{
    Codec, codec::EncodedPayload, envelope::EventMeta, prelude::*, testing::TestApp,
    transport::TopicName,
};
use serde::{Deserialize, Serialize};

use crate::domain::TENANT;

/// The program of two releases ago, which is still running somewhere.
mod old {
    use super::{Deserialize, DomainEvent, Serialize};

    #[derive(Serialize, Deserialize, DomainEvent)]
    #[domain_event(stream = "shop", topic = "prices", name = "price.set", partition_key = sku)]
    pub(super) struct PriceSet {
        pub(super) sku: String,
        pub(super) euros: u32,
    }
}

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "shop", topic = "prices", name = "price.set", partition_key = sku)]
struct PriceSetV1 {
    sku: String,
    euros: u32,
}

#[derive(Serialize, Deserialize, DomainEvent)]
#[domain_event(
    stream = "shop", topic = "prices", name = "price.set", version = 2, previous = PriceSetV1, partition_key = sku
)]
struct PriceSetV2 {
    sku: String,
    cents: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(
    stream = "shop", topic = "prices", name = "price.set", version = 3, previous = PriceSetV2, partition_key = sku
)]
struct PriceSet {
    sku: String,
    cents: u32,
    currency: String,
}

impl From<PriceSetV1> for PriceSetV2 {
    fn from(event: PriceSetV1) -> Self {
        Self { sku: event.sku, cents: event.euros * 100 }
    }
}

impl From<PriceSetV2> for PriceSet {
    fn from(event: PriceSetV2) -> Self {
        Self { sku: event.sku, cents: event.cents, currency: "EUR".to_owned() }
    }
}

#[derive(Default)]
struct Prices {
    refuse: AtomicBool,
    seen: Mutex<Vec<(PriceSet, u32)>>,
}

#[event_handler(group = "prices")]
async fn set_price(
    ctx: &mut HandlerContext<'_, std::sync::Arc<Prices>>,
    event: PriceSet,
) -> HandlerResult {
    if ctx.state().refuse.load(Ordering::Relaxed) {
        Err("not now").terminal()?;
    }
    ctx.state().seen.lock().unwrap().push((event, ctx.envelope().version()));
    Ok(())
}

fn price(cents: u32) -> PriceSet {
    PriceSet { sku: "tea".to_owned(), cents, currency: "EUR".to_owned() }
}

#[tokio::test]
async fn an_older_version_walks_the_chain_live_from_a_dead_letter_and_in_a_replay() {
    let prices = std::sync::Arc::new(Prices::default());
    let app = TestApp::builder().state(prices.clone()).handler(set_price).start().await.unwrap();
    let seen = || std::mem::take(&mut *prices.seen.lock().unwrap());
    let old = |euros| old::PriceSet { sku: "tea".to_owned(), euros };

    app.publish(TENANT, old(3)).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(seen(), [(price(300), 1)], "live");

    prices.refuse.store(true, Ordering::Relaxed);
    app.publish(TENANT, old(4)).await.unwrap();
    app.settle().await.unwrap();
    let dead = app.dead_letters().await.unwrap();
    assert_eq!(dead[0].payload, br#"{"sku":"tea","euros":4}"#, "kept as it came");
    prices.refuse.store(false, Ordering::Relaxed);
    app.letters().retry(dead[0].id).await.unwrap();
    app.settle().await.unwrap();
    assert_eq!(seen(), [(price(400), 1)], "from a dead letter");

    let topic = TopicName::new("shop", "prices");
    let mut replay = app.transport().replay(topic).events::<PriceSet>().start().await.unwrap();
    let mut replayed = Vec::new();
    while replayed.len() < 2 {
        for message in replay.next_batch(10).await.unwrap() {
            let meta = EventMeta::from_wire(&message.headers).unwrap();
            let payload = EncodedPayload { codec: Codec::Json, bytes: message.payload };
            replayed.push(PriceSet::decode_event(meta.name(), meta.version(), &payload).unwrap());
        }
    }
    assert_eq!(replayed, [price(300), price(400)], "in a replay");
}
