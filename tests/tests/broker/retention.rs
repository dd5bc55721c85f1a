//! Old messages go, offsets do not come back.

use std::time::Duration;

use iggy::prelude::*;
use rustok_events::iggy::embedded::{BrokerConfig, EmbeddedBroker, SyncPolicy};

use crate::client::*;

async fn topic(client: &IggyClient, expiry: IggyExpiry, size: MaxTopicSize) {
    client.create_stream(STREAM).await.unwrap();
    let none = CompressionAlgorithm::None;
    client.create_topic(&id(STREAM), TOPIC, 2, none, None, expiry, size).await.unwrap();
}

async fn large(client: &IggyClient, partition: u32, count: u64) {
    let mut messages: Vec<IggyMessage> = (0..count)
        .map(|_| IggyMessage::builder().payload(vec![7; 10_000].into()).build().unwrap())
        .collect();
    client
        .send_messages(
            &id(STREAM),
            &id(TOPIC),
            &Partitioning::partition_id(partition),
            &mut messages,
        )
        .await
        .unwrap();
}

async fn size(client: &IggyClient) -> u64 {
    client.get_topic(&id(STREAM), &id(TOPIC)).await.unwrap().unwrap().size.as_bytes_u64()
}

/// Waits until all messages are gone, at most five seconds.
async fn gone(client: &IggyClient) {
    let empty = async {
        while size(client).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), empty).await.expect("they expire");
}

async fn both(check: impl AsyncFn(BrokerConfig)) {
    let folder = tempfile::tempdir().unwrap();
    for mut config in [BrokerConfig::in_memory(), BrokerConfig::at(folder.path())] {
        config.retention_sweep = Duration::from_millis(50);
        config.sync = SyncPolicy::Never;
        check(config).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_expire_and_offsets_go_on() {
    both(async |config| {
        let broker = EmbeddedBroker::start(config.clone()).await.unwrap();
        let client = connect(broker.address()).await;
        let expiry = IggyExpiry::ExpireDuration(IggyDuration::from(400_000));
        topic(&client, expiry, MaxTopicSize::Unlimited).await;
        send(&client, 0, 0..10).await;
        let reader = Consumer::new(id("reader"));
        client.store_consumer_offset(&reader, &id(STREAM), &id(TOPIC), Some(0), 4).await.unwrap();
        assert_eq!(poll(&client, 0, PollingStrategy::first(), 99).await.len(), 10);
        gone(&client).await;
        assert!(poll(&client, 0, PollingStrategy::first(), 99).await.is_empty());
        assert!(poll(&client, 0, PollingStrategy::next(), 99).await.is_empty());
        send(&client, 0, 10..12).await;
        for strategy in [
            PollingStrategy::first(),
            PollingStrategy::next(),
            PollingStrategy::offset(0),
            PollingStrategy::last(),
        ] {
            let found = poll(&client, 0, strategy, 99).await;
            assert_eq!(found[0].header.offset, 10, "{strategy:?}");
            assert_eq!(numbers(&found), [10, 11]);
        }
        gone(&client).await;
        client.shutdown().await.unwrap();
        broker.shutdown().await;
        if config.data_dir.is_some() {
            let broker = EmbeddedBroker::start(config).await.unwrap();
            let client = connect(broker.address()).await;
            assert_eq!(size(&client).await, 0, "also after a restart");
            send(&client, 0, 12..13).await;
            let found = poll(&client, 0, PollingStrategy::first(), 99).await;
            assert_eq!(found[0].header.offset, 12, "also after a restart");
            broker.shutdown().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_stays_within_its_size() {
    both(async |config| {
        let broker = EmbeddedBroker::start(config).await.unwrap();
        let client = connect(broker.address()).await;
        let limit = 2_000_000;
        topic(&client, IggyExpiry::NeverExpire, MaxTopicSize::Custom(limit.into())).await;
        for _ in 0..5 {
            large(&client, 0, 100).await;
            large(&client, 1, 50).await;
        }
        while size(&client).await > limit {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let kept = size(&client).await;
        assert!(kept > limit / 2, "{kept} bytes: too much is gone");
        for (partition, end) in [(0, 499), (1, 249)] {
            let found = poll(&client, partition, PollingStrategy::first(), 1000).await;
            assert_eq!(found.last().unwrap().header.offset, end, "the newest are kept");
            let first = found[0].header.offset;
            assert!(first > 0);
            let offsets: Vec<u64> = found.iter().map(|message| message.header.offset).collect();
            assert_eq!(offsets, (first..=end).collect::<Vec<_>>());
        }
        broker.shutdown().await;
    })
    .await;
}
