//! How fast the broker is: printed, and that all came. Figures mean something in a release build alone:
//!
//! ```text
//! RUSTOK_BROKER_MESSAGES=2000000 cargo test --release -p rustok-events-tests --test broker -- --nocapture throughput
//! ```

use std::time::{Duration, Instant};

use iggy::prelude::*;
use rustok_events::iggy::embedded::{BrokerConfig, EmbeddedBroker, SyncPolicy};

use crate::client::*;

const PARTITIONS: u32 = 8;

fn messages() -> usize {
    std::env::var("RUSTOK_BROKER_MESSAGES")
        .map_or(20_000, |count| count.parse().expect("a number of messages"))
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

async fn produce(client: &IggyClient, count: usize, at_once: usize) -> (Duration, Vec<Duration>) {
    let payload = bytes(512);
    let mut batches: Vec<Vec<IggyMessage>> = (0..count / at_once)
        .map(|_| {
            (0..at_once)
                .map(|_| IggyMessage::builder().payload(payload.clone().into()).build().unwrap())
                .collect()
        })
        .collect();
    let mut each = Vec::with_capacity(batches.len());
    let start = Instant::now();
    for (at, batch) in batches.iter_mut().enumerate() {
        let place = Partitioning::partition_id(u32::try_from(at).unwrap() % PARTITIONS);
        let sent = Instant::now();
        client.send_messages(&id(STREAM), &id(TOPIC), &place, batch).await.unwrap();
        each.push(sent.elapsed());
    }
    each.sort_unstable();
    (start.elapsed(), each)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

async fn consume(client: &IggyClient, count: usize) -> Duration {
    let start = Instant::now();
    let reader = Consumer::new(id("reader"));
    let mut seen = 0;
    for partition in 0..PARTITIONS {
        loop {
            let next = PollingStrategy::next();
            let (stream, topic) = (id(STREAM), id(TOPIC));
            let found = client
                .poll_messages(&stream, &topic, Some(partition), &reader, &next, 1000, true)
                .await
                .unwrap();
            if found.messages.is_empty() {
                break;
            }
            seen += found.messages.len();
        }
    }
    assert_eq!(seen, count);
    start.elapsed()
}

async fn measure(name: &str, config: BrokerConfig) {
    let broker = EmbeddedBroker::start(config.clone()).await.unwrap();
    let client = connect(broker.address()).await;
    provision(&client, PARTITIONS).await;
    let many = messages() / 1000 * 1000;
    let (time, _) = produce(&client, many, 1000).await;
    println!("{name}: produce 1000 a send {:.0} messages/s", rate(many, time));
    let time = consume(&client, many).await;
    println!(
        "{name}: consume 1000 a poll, offset stored with each {:.0} messages/s",
        rate(many, time)
    );
    let few = (many / 100).max(100);
    let (time, each) = produce(&client, few, 1).await;
    let of = |share: usize| each[each.len() * share / 100];
    println!(
        "{name}: produce 1 a send {:.0} messages/s, p50 {:?} p99 {:?}",
        rate(few, time),
        of(50),
        of(99)
    );
    client.shutdown().await.unwrap();
    broker.shutdown().await;
    if config.data_dir.is_some() {
        let start = Instant::now();
        let broker = EmbeddedBroker::start(config).await.unwrap();
        println!("{name}: start with {} MB of log {:?}", many * 576 / 1_000_000, start.elapsed());
        let client = connect(broker.address()).await;
        let first = poll(&client, 0, PollingStrategy::first(), 1).await;
        assert_eq!(first[0].payload, bytes(512));
        client.shutdown().await.unwrap();
        broker.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn throughput_is_printed_and_all_messages_come() {
    measure("memory", BrokerConfig::in_memory()).await;
    for (name, sync) in [
        ("disk, never", SyncPolicy::Never),
        ("disk, interval 10 ms", SyncPolicy::Interval(Duration::from_millis(10))),
        ("disk, always", SyncPolicy::Always),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = BrokerConfig::at(folder.path());
        config.sync = sync;
        measure(name, config).await;
    }
}
