//! The commands beside producing and consuming, through the SDK's client.

use iggy::prelude::*;

use crate::client::*;

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_topics_are_made_found_changed_and_removed() {
    let broker = broker().await;
    let client = connect(broker.address()).await;
    assert!(client.get_streams().await.unwrap().is_empty());
    assert!(client.get_stream(&id("nothing")).await.unwrap().is_none());
    provision(&client, 3).await;
    let again = client.create_stream(STREAM).await;
    assert!(matches!(again, Err(IggyError::StreamNameAlreadyExists(_))), "{again:?}");
    let (stream, topic) = (id(STREAM), id(TOPIC));
    let make = async |stream: &str, topic: &str, partitions| {
        let (none, unlimited) = (CompressionAlgorithm::None, MaxTopicSize::ServerDefault);
        let stream = id(stream);
        client
            .create_topic(
                &stream,
                topic,
                partitions,
                none,
                None,
                IggyExpiry::ServerDefault,
                unlimited,
            )
            .await
    };
    let twice = make(STREAM, TOPIC, 3).await;
    assert!(matches!(twice, Err(IggyError::TopicNameAlreadyExists(..))), "{twice:?}");
    let nowhere = make("nothing", TOPIC, 3).await;
    assert!(matches!(nowhere, Err(IggyError::StreamIdNotFound(_))), "{nowhere:?}");
    let many = make(STREAM, "many", 1001).await;
    assert!(matches!(many, Err(IggyError::TooManyPartitions)), "{many:?}");
    let second = make(STREAM, "second", 1).await.unwrap();
    assert_eq!(second.message_expiry, IggyExpiry::NeverExpire);
    assert_eq!(second.max_topic_size, MaxTopicSize::Unlimited);

    send(&client, 2, 0..7).await;
    let found = client.get_stream(&stream).await.unwrap().unwrap();
    assert_eq!((found.topics_count, found.messages_count), (2, 7));
    let found = client.get_topic(&Identifier::numeric(found.id).unwrap(), &topic).await.unwrap();
    let found = found.unwrap();
    assert_eq!(found.partitions.iter().map(|p| p.messages_count).collect::<Vec<_>>(), [0, 0, 7]);
    assert_eq!(found.partitions[2].current_offset, 6);

    client.update_stream(&stream, "store").await.unwrap();
    assert!(client.get_stream(&stream).await.unwrap().is_none());
    client.update_stream(&id("store"), STREAM).await.unwrap();
    let (none, day) =
        (CompressionAlgorithm::None, IggyExpiry::ExpireDuration(IggyDuration::ONE_SECOND));
    client
        .update_topic(&stream, &id("second"), "third", none, Some(2), day, MaxTopicSize::Unlimited)
        .await
        .unwrap();
    let third = client.get_topic(&stream, &id("third")).await.unwrap().unwrap();
    assert_eq!((third.message_expiry, third.replication_factor), (day, 2));
    assert!(client.get_topic(&stream, &id("second")).await.unwrap().is_none());

    client.create_partitions(&stream, &topic, 2).await.unwrap();
    send(&client, 4, 7..8).await;
    client.delete_partitions(&stream, &topic, 3).await.unwrap();
    let found = client.get_topic(&stream, &topic).await.unwrap().unwrap();
    assert_eq!((found.partitions_count, found.messages_count), (2, 0));
    send(&client, 1, 0..5).await;
    client.purge_topic(&stream, &topic).await.unwrap();
    assert!(poll(&client, 1, PollingStrategy::first(), 9).await.is_empty());
    send(&client, 1, 5..6).await;
    assert_eq!(poll(&client, 1, PollingStrategy::first(), 9).await[0].header.offset, 5);
    client.purge_stream(&stream).await.unwrap();
    client.flush_unsaved_buffer(&stream, &topic, 0, true).await.unwrap();

    client.delete_topic(&stream, &topic).await.unwrap();
    let gone = client.delete_topic(&stream, &topic).await;
    assert!(matches!(gone, Err(IggyError::TopicIdNotFound(..))), "{gone:?}");
    let mut lost = [message(1)];
    let nowhere = Partitioning::partition_id(0);
    let sent = client.send_messages(&stream, &topic, &nowhere, &mut lost).await;
    assert!(matches!(sent, Err(IggyError::TopicIdNotFound(..))), "{sent:?}");
    client.delete_stream(&stream).await.unwrap();
    assert!(client.get_streams().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_made_joined_left_and_removed() {
    let broker = broker().await;
    let (client, other) = (connect(broker.address()).await, connect(broker.address()).await);
    provision(&client, 3).await;
    let (stream, topic, group) = (id(STREAM), id(TOPIC), id("search"));
    let missing = client.join_consumer_group(&stream, &topic, &group).await;
    assert!(matches!(missing, Err(IggyError::ConsumerGroupIdNotFound(..))), "{missing:?}");
    client.create_consumer_group(&stream, &topic, "search").await.unwrap();
    let again = client.create_consumer_group(&stream, &topic, "search").await;
    assert!(matches!(again, Err(IggyError::ConsumerGroupNameAlreadyExists(..))), "{again:?}");
    client.join_consumer_group(&stream, &topic, &group).await.unwrap();
    client.join_consumer_group(&stream, &topic, &group).await.unwrap();
    let shares = async || {
        let found = client.get_consumer_group(&stream, &topic, &group).await.unwrap().unwrap();
        found.members.iter().map(|member| member.partitions_count).collect::<Vec<_>>()
    };
    assert_eq!(shares().await, [3]);
    send(&client, 0, 0..5).await;

    // Only a member may store, only on what it owns, and only what is there.
    let reader = Consumer::group(group.clone());
    let store = async |client: &IggyClient, partition, offset| {
        client.store_consumer_offset(&reader, &stream, &topic, Some(partition), offset).await
    };
    let stranger = store(&other, 0, 1).await;
    assert!(matches!(stranger, Err(IggyError::ConsumerGroupMemberNotFound(..))), "{stranger:?}");
    store(&client, 0, 1).await.unwrap();
    let ahead = store(&client, 0, 5).await;
    assert!(matches!(ahead, Err(IggyError::InvalidOffset(_))), "{ahead:?}");
    let empty = store(&client, 1, 0).await;
    assert!(matches!(empty, Err(IggyError::InvalidOffset(_))), "nothing is there: {empty:?}");
    other.join_consumer_group(&stream, &topic, &group).await.unwrap();
    assert_eq!(shares().await, [2, 1]);
    let taken = store(&client, 2, 0).await;
    assert!(matches!(taken, Err(IggyError::NotResolvedConsumer(_))), "{taken:?}");
    // Everybody may look.
    let stored = other.get_consumer_offset(&reader, &stream, &topic, Some(0)).await.unwrap();
    assert_eq!(stored.unwrap().stored_offset, 1);

    let me = client.get_me().await.unwrap();
    assert_eq!(me.consumer_groups_count, 1);
    assert_eq!(client.get_clients().await.unwrap().len(), 2);
    assert!(client.get_client(me.client_id).await.unwrap().is_some());
    assert!(client.get_client(99).await.unwrap().is_none());
    client.leave_consumer_group(&stream, &topic, &group).await.unwrap();
    let left = client.leave_consumer_group(&stream, &topic, &group).await;
    assert!(matches!(left, Err(IggyError::ConsumerGroupMemberNotFound(..))), "{left:?}");
    assert_eq!(shares().await, [3]);
    other.shutdown().await.unwrap();
    while !shares().await.is_empty() {}
    client.delete_consumer_group(&stream, &topic, &group).await.unwrap();
    assert!(client.get_consumer_group(&stream, &topic, &group).await.unwrap().is_none());
    assert!(client.get_consumer_groups(&stream, &topic).await.unwrap().is_empty());
    client.create_consumer_group(&stream, &topic, "search").await.unwrap();
    let fresh = client.get_consumer_offset(&reader, &stream, &topic, Some(0)).await.unwrap();
    assert!(fresh.is_none(), "a group made anew starts anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_tells_of_itself() {
    let broker = broker().await;
    let client = connect(broker.address()).await;
    provision(&client, 3).await;
    send(&client, 0, 0..5).await;
    let stats = client.get_stats().await.unwrap();
    let counts = (stats.streams_count, stats.topics_count, stats.partitions_count);
    assert_eq!((counts, stats.messages_count), ((1, 1, 3), 5));
    let cluster = client.get_cluster_metadata().await.unwrap();
    assert_eq!(cluster.nodes.len(), 1);
    assert_eq!(cluster.nodes[0].endpoints.tcp, broker.address().port());
    assert_eq!(client.get_user(&id("iggy")).await.unwrap().unwrap().username, "iggy");
    assert!(client.get_user(&id("nobody")).await.unwrap().is_none());
    assert_eq!(client.get_users().await.unwrap().len(), 1);
    assert!(client.get_personal_access_tokens().await.unwrap().is_empty());
    let refused = client.create_user("somebody", "secret", UserStatus::Active, None);
    assert!(matches!(refused.await, Err(IggyError::FeatureUnavailable)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lies_where_the_protocol_says() {
    let broker = broker().await;
    let client = connect(broker.address()).await;
    provision(&client, 8).await;
    // xxh32 with seed 0 of "abc" is 0x32D153FF, of "a" 0x550D7456.
    for (key, partition) in [("abc", 0x32D1_53FF_u32 % 8), ("a", 0x550D_7456 % 8)] {
        let key = Partitioning::messages_key_str(key).unwrap();
        client.send_messages(&id(STREAM), &id(TOPIC), &key, &mut [message(1)]).await.unwrap();
        let found = poll(&client, partition, PollingStrategy::first(), 9).await;
        assert_eq!(numbers(&found), [1]);
    }
    for _ in 0..8 {
        let balanced = Partitioning::balanced();
        client.send_messages(&id(STREAM), &id(TOPIC), &balanced, &mut [message(2)]).await.unwrap();
    }
    for partition in 0..8 {
        let last = poll(&client, partition, PollingStrategy::last(), 1).await;
        assert_eq!(numbers(&last), [2], "one each");
    }
}
