//! The broker with a folder: what is there after a restart.

use std::{path::Path, time::Duration};

use iggy::prelude::*;
use rustok_events::iggy::embedded::{BrokerConfig, BrokerError, EmbeddedBroker};

use crate::client::*;

pub(crate) async fn start(folder: &Path) -> EmbeddedBroker {
    EmbeddedBroker::start(BrokerConfig::at(folder)).await.expect("the broker starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_resumes_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (stream, topic) = (id(STREAM), id(TOPIC));
    let broker = start(folder.path()).await;
    let client = connect(broker.address()).await;
    provision(&client, 2).await;
    client.create_stream("other").await.unwrap();
    client.delete_stream(&id("other")).await.unwrap();
    send(&client, 0, 0..1000).await;
    send(&client, 1, 1000..1010).await;
    let reading = connect(broker.address()).await;
    let consumer = member(&reading, "search").await;
    consumer.store_offset(499, Some(0)).await.unwrap();
    client.shutdown().await.unwrap();
    drop(consumer);
    reading.shutdown().await.unwrap();
    broker.shutdown().await;

    let broker = start(folder.path()).await;
    let client = connect(broker.address()).await;
    let known = client.get_topic(&stream, &topic).await.unwrap().unwrap();
    assert_eq!((known.partitions_count, known.messages_count), (2, 1010));
    assert_eq!(numbers(&poll(&client, 0, PollingStrategy::offset(0), 2000).await).len(), 1000);
    let group = Consumer::group(id("search"));
    let offset = client.get_consumer_offset(&group, &stream, &topic, Some(0)).await.unwrap();
    assert_eq!(offset.unwrap().stored_offset, 499);
    let reading = connect(broker.address()).await;
    let mut consumer = member(&reading, "search").await;
    let (mut zero, mut one) = (500, 1000);
    for _ in 0..510 {
        let received = next(&mut consumer, Duration::from_secs(5)).await.unwrap();
        let expected = if received.partition_id == 0 { &mut zero } else { &mut one };
        assert_eq!(number(&received.message), *expected);
        *expected += 1;
        consumer
            .store_offset(received.message.header.offset, Some(received.partition_id))
            .await
            .unwrap();
    }
    send(&client, 1, 1010..1011).await;
    let last = poll(&client, 1, PollingStrategy::last(), 1).await;
    assert_eq!((number(&last[0]), last[0].header.offset), (1010, 10));
    let again = client.create_stream("again").await.unwrap();
    assert_eq!(again.id, 3, "a stream's number is not given twice");
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_broker_on_the_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let second = EmbeddedBroker::start(BrokerConfig::at(folder.path())).await;
    let error = second.expect_err("the folder is in use");
    assert!(matches!(&error, BrokerError::DataDirInUse(path) if path == folder.path()));
    let text = error.to_string();
    assert!(
        text.contains(&*folder.path().to_string_lossy()) && text.contains("data_dir"),
        "{text}"
    );
    connect(broker.address()).await.ping().await.unwrap();
    drop(broker);
    // Dropped, not shut down: the next start waits until it is gone.
    start(folder.path()).await.shutdown().await;
}
