//! The SDK's own ways through the broker.

use std::{collections::HashSet, time::Duration};

use iggy::prelude::*;

use crate::client::*;

const SOON: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn the_builders_produce_and_consume() {
    let broker = broker().await;
    let client = connect(broker.address()).await;
    let producer = client
        .producer(STREAM, TOPIC)
        .unwrap()
        .direct(DirectConfig::builder().batch_length(1000).build())
        .create_stream_if_not_exists()
        .create_topic_if_not_exists(4, None, IggyExpiry::NeverExpire, MaxTopicSize::Unlimited)
        .build();
    producer.init().await.unwrap();
    producer.send((0..2500).map(message).collect()).await.unwrap();

    let reading = connect(broker.address()).await;
    let mut consumer = member(&reading, "search").await;
    let mut seen = HashSet::new();
    while seen.len() < 2500 {
        let received = next(&mut consumer, SOON).await.expect("all of them come");
        let headers = received.message.user_headers_map().unwrap().expect("headers came along");
        let kind = headers.get(&HeaderKey::try_from("ce-type").unwrap()).unwrap();
        assert_eq!(kind.as_str().unwrap(), "order_placed");
        let number = number(&received.message);
        assert_eq!(received.message.header.id, u128::from(number) + 1);
        assert_ne!(received.message.header.checksum, 0);
        assert!(seen.insert(number), "{number} came twice");
        let (offset, partition) = (received.message.header.offset, received.partition_id);
        consumer.store_offset(offset, Some(partition)).await.unwrap();
    }
    assert!(next(&mut consumer, QUIET).await.is_none());
    let topic = client.get_topic(&id(STREAM), &id(TOPIC)).await.unwrap().unwrap();
    assert_eq!((topic.partitions_count, topic.messages_count), (4, 2500));
    broker.shutdown().await;
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused() {
    let broker = broker().await;
    for (user, password) in [("iggy", "wrong"), ("nobody", "iggy"), ("iggy", "iggyy")] {
        let client = unconnected(broker.address(), user, password);
        assert!(matches!(client.connect().await, Err(IggyError::InvalidCredentials)), "{user}");
    }
    let stranger = stranger(broker.address());
    stranger.connect().await.unwrap();
    stranger.ping().await.unwrap();
    assert!(stranger.login_with_personal_access_token("token").await.is_err());
    assert!(stranger.login_user("iggy", "iggy").await.is_ok());
    stranger.logout_user().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shares_its_partitions_and_takes_over_what_a_member_leaves() {
    let broker = broker().await;
    let client = connect(broker.address()).await;
    provision(&client, 4).await;
    let (first, second) = (connect(broker.address()).await, connect(broker.address()).await);
    let mut one = member(&first, "search").await;
    let mut two = member(&second, "search").await;
    let group = client.get_consumer_group(&id(STREAM), &id(TOPIC), &id("search")).await.unwrap();
    let group = group.unwrap();
    assert_eq!(group.members.iter().map(|m| m.partitions_count).collect::<Vec<_>>(), [2, 2]);

    for partition in 0..4 {
        let from = u64::from(partition) * 10;
        send(&client, partition, from..from + 10).await;
    }
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let received = next(&mut one, SOON).await.unwrap();
        mine.push((received.partition_id, number(&received.message)));
        one.store_offset(received.message.header.offset, Some(received.partition_id))
            .await
            .unwrap();
        theirs.push(next(&mut two, SOON).await.unwrap());
    }
    for partition in 0..4 {
        let of: Vec<u64> = mine.iter().filter(|m| m.0 == partition).map(|m| m.1).collect();
        let from = u64::from(partition) * 10;
        assert!(of.is_empty() || of == (from..from + 10).collect::<Vec<_>>());
    }

    // The second stored nothing and goes: its messages come again at the first.
    drop(two);
    second.shutdown().await.unwrap();
    let mut again = Vec::new();
    while again.len() < 20 {
        again.push(number(&next(&mut one, SOON).await.expect("they come again").message));
    }
    let mut expected: Vec<u64> = theirs.iter().map(|m| number(&m.message)).collect();
    again.sort_unstable();
    expected.sort_unstable();
    assert_eq!(again, expected);
    drop(one);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_resumes_after_what_it_stored() {
    let broker = broker().await;
    let client = connect(broker.address()).await;
    provision(&client, 1).await;
    send(&client, 0, 0..10).await;
    let reading = connect(broker.address()).await;
    let mut consumer = member(&reading, "search").await;
    for expected in 0..6 {
        assert_eq!(number(&next(&mut consumer, SOON).await.unwrap().message), expected);
    }
    consumer.store_offset(3, Some(0)).await.unwrap();
    drop(consumer);
    reading.shutdown().await.unwrap();

    let reading = connect(broker.address()).await;
    let mut consumer = member(&reading, "search").await;
    for expected in 4..10 {
        assert_eq!(number(&next(&mut consumer, SOON).await.unwrap().message), expected);
    }
    assert!(next(&mut consumer, QUIET).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_begin_begins_where_it_says() {
    let broker = broker().await;
    let client = connect(broker.address()).await;
    provision(&client, 1).await;
    assert!(poll(&client, 0, PollingStrategy::first(), 10).await.is_empty());
    send(&client, 0, 0..5).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    let between = IggyTimestamp::now();
    send(&client, 0, 5..10).await;

    let begin = async |strategy, count| numbers(&poll(&client, 0, strategy, count).await);
    assert_eq!(begin(PollingStrategy::first(), 3).await, [0, 1, 2]);
    assert_eq!(begin(PollingStrategy::last(), 3).await, [7, 8, 9]);
    assert_eq!(begin(PollingStrategy::last(), 99).await.len(), 10);
    assert_eq!(begin(PollingStrategy::offset(4), 3).await, [4, 5, 6]);
    assert!(begin(PollingStrategy::offset(10), 3).await.is_empty());
    assert_eq!(begin(PollingStrategy::timestamp(between), 2).await, [5, 6]);
    assert!(begin(PollingStrategy::timestamp(IggyTimestamp::now()), 2).await.is_empty());
    assert_eq!(begin(PollingStrategy::next(), 1).await, [0]);

    let reader = Consumer::new(id("reader"));
    let (stream, topic) = (id(STREAM), id(TOPIC));
    client.store_consumer_offset(&reader, &stream, &topic, Some(0), 6).await.unwrap();
    assert_eq!(begin(PollingStrategy::next(), 9).await, [7, 8, 9]);
    client.store_consumer_offset(&reader, &stream, &topic, Some(0), 1).await.unwrap();
    assert_eq!(begin(PollingStrategy::next(), 1).await, [2], "a plain client may rewind");
    let ahead = client.store_consumer_offset(&reader, &stream, &topic, Some(0), 10).await;
    assert!(matches!(ahead, Err(IggyError::InvalidOffset(_))), "{ahead:?}");
    client.delete_consumer_offset(&reader, &stream, &topic, Some(0)).await.unwrap();
    assert_eq!(begin(PollingStrategy::next(), 1).await, [0]);
}
