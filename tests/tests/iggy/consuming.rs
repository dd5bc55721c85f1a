//! Groups: what comes, what comes again, and who gets it.

use std::{
    collections::BTreeSet,
    ops::Range,
    time::{Duration, Instant},
};

use iggy::prelude::{
    CompressionAlgorithm, Identifier, IggyClient, IggyExpiry, IggyMessage, MaxTopicSize,
    MessageClient as _, Partitioning, TopicClient as _,
};
use rustok_events::{
    EventTransport, TransportError,
    transport::{IncomingMessage, StartFrom, Subscription, TopicName},
};

use crate::broker::{Broker, join, nothing_comes, number, provision, publish, take};

pub(crate) async fn what_was_not_acknowledged_comes_again(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 2).await;
    publish(&transport, &topic, 0, 0..10).await;
    publish(&transport, &topic, 1, 10..20).await;
    for _ in 0..2 {
        let mut member = join(&transport, "readers", &topic).await;
        let numbers: BTreeSet<_> = take(&mut *member, 20).await.iter().map(number).collect();
        assert_eq!(numbers, (0..20).collect());
        nothing_comes(&mut *member).await;
    }
}

pub(crate) async fn a_group_goes_on_after_what_it_acknowledged(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 1).await;
    publish(&transport, &topic, 0, 0..10).await;
    let mut member = join(&transport, "readers", &topic).await;
    take(&mut *member, 7).await;
    member.acknowledge(0, 3).await.unwrap();
    drop(member);
    let mut member = join(&transport, "readers", &topic).await;
    let received = take(&mut *member, 6).await;
    assert_eq!(received.iter().map(number).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9]);
    member.acknowledge(0, 9).await.unwrap();
    publish(&transport, &topic, 0, 10..11).await;
    assert_eq!(number(&take(&mut *member, 1).await[0]), 10);
    drop(member);
    // A lower offset than the stored one changes nothing.
    let mut member = join(&transport, "readers", &topic).await;
    assert_eq!(number(&take(&mut *member, 1).await[0]), 10);
}

pub(crate) async fn a_dropped_next_loses_nothing(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 2).await;
    let mut member = join(&transport, "readers", &topic).await;
    let publishing = {
        let (transport, topic) = (transport.clone(), topic.clone());
        tokio::spawn(async move {
            for number in 0..400 {
                publish(&transport, &topic, u32::from(number % 2 == 1), number..number + 1).await;
            }
        })
    };
    let mut received: Vec<IncomingMessage> = Vec::new();
    let give_up = Instant::now() + Duration::from_secs(20);
    let mut patience = 0;
    while received.len() < 400 && Instant::now() < give_up {
        // Dropped at every point it waits at.
        patience = (patience + 37) % 900;
        let next = tokio::time::timeout(Duration::from_micros(patience), member.next(5)).await;
        received.extend(next.into_iter().flat_map(Result::unwrap));
    }
    publishing.await.unwrap();
    for partition in 0..2 {
        let of = received.iter().filter(|message| message.partition == partition);
        let numbers: Vec<_> = of.map(number).collect();
        let expected: Vec<_> =
            (0..400).filter(|number| number % 2 == u64::from(partition)).collect();
        assert_eq!(numbers, expected, "each once, in order");
    }
}

pub(crate) async fn a_group_that_starts_at_the_end_sees_only_what_comes_then(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 2).await;
    publish(&transport, &topic, 0, 0..10).await;
    let member = transport.subscribe("readers", &topic, StartFrom::End).await.unwrap();
    drop(member);
    publish(&transport, &topic, 0, 10..11).await;
    publish(&transport, &topic, 1, 11..12).await;
    // The group began when it was made, not when somebody came back to it.
    let mut member = transport.subscribe("readers", &topic, StartFrom::End).await.unwrap();
    let numbers: BTreeSet<_> = take(&mut *member, 2).await.iter().map(number).collect();
    assert_eq!(numbers, BTreeSet::from([10, 11]));
    nothing_comes(&mut *member).await;
}

/// Takes and acknowledges until nothing comes for a while.
async fn drain(member: &mut dyn Subscription, into: &mut Vec<IncomingMessage>) {
    while let Ok(next) = tokio::time::timeout(Duration::from_millis(200), member.next(100)).await {
        let messages = next.unwrap();
        for message in &messages {
            match member.acknowledge(message.partition, message.offset).await {
                Ok(()) | Err(TransportError::LostOwnership { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        into.extend(messages);
    }
}

pub(crate) async fn two_members_split_the_partitions(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 4).await;
    let mut first = join(&transport, "readers", &topic).await;
    let mut second = join(&transport, "readers", &topic).await;
    let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
    for partition in 0..4 {
        publish(&transport, &topic, partition, 0..50).await;
    }
    tokio::join!(drain(&mut *first, &mut of_first), drain(&mut *second, &mut of_second));
    let partitions = |messages: &[IncomingMessage]| -> BTreeSet<u32> {
        messages.iter().map(|message| message.partition).collect()
    };
    let (mine, theirs) = (partitions(&of_first), partitions(&of_second));
    assert!(!mine.is_empty() && !theirs.is_empty(), "{mine:?} {theirs:?}");
    assert!(mine.is_disjoint(&theirs), "{mine:?} {theirs:?}");
    assert_eq!(of_first.len() + of_second.len(), 200);

    // Who stays takes over, and soon.
    drop(second);
    for partition in 0..4 {
        publish(&transport, &topic, partition, 50..60).await;
    }
    let received = take(&mut *first, 40).await;
    assert_eq!(partitions(&received).len(), 4);
    assert!(received.iter().all(|message| number(message) >= 50), "what was acknowledged stays so");
}

pub(crate) async fn a_partition_that_went_to_another_member_is_lost_ownership(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 2).await;
    let mut first = join(&transport, "readers", &topic).await;
    // Nothing is unacknowledged, so the partition moves at once, on real servers too.
    let mut second = join(&transport, "readers", &topic).await;
    publish(&transport, &topic, 0, 0..5).await;
    publish(&transport, &topic, 1, 0..5).await;
    let given = take(&mut *second, 5).await[0].partition;
    let lost = first.acknowledge(given, 2).await.unwrap_err();
    assert!(
        matches!(&lost, TransportError::LostOwnership { partition, .. } if *partition == given),
        "{lost:?}"
    );
    assert!(lost.is_retryable());
    // The other partition goes on.
    let kept = take(&mut *first, 5).await;
    assert!(kept.iter().all(|message| message.partition != given));
    first.acknowledge(1 - given, 4).await.unwrap();
    second.acknowledge(given, 2).await.unwrap();
    // And the lost one comes back from where the other member got.
    drop(second);
    let back = take(&mut *first, 2).await;
    assert_eq!(back.iter().map(number).collect::<Vec<_>>(), [3, 4]);
    first.acknowledge(given, 4).await.unwrap();
}

pub(crate) async fn groups_do_not_disturb_each_other(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 1).await;
    publish(&transport, &topic, 0, 0..3).await;
    let mut first = join(&transport, "first", &topic).await;
    take(&mut *first, 3).await;
    first.acknowledge(0, 2).await.unwrap();
    let mut second = join(&transport, "second", &topic).await;
    assert_eq!(take(&mut *second, 3).await.len(), 3);
}

pub(crate) async fn a_publish_wakes_a_consumer_of_the_same_process(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 8).await;
    let mut member = join(&transport, "readers", &topic).await;
    let mut waits = Vec::new();
    for number in 0..60_u64 {
        // Long enough for the watcher to have gone to sleep.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let publishing = {
            let (transport, topic) = (transport.clone(), topic.clone());
            tokio::spawn(async move {
                publish(&transport, &topic, (number % 8) as u32, number..number + 1).await;
                Instant::now()
            })
        };
        let message = take(&mut *member, 1).await.remove(0);
        let received = Instant::now();
        member.acknowledge(message.partition, message.offset).await.unwrap();
        waits.push(received.saturating_duration_since(publishing.await.unwrap()));
    }
    waits.sort();
    let (p50, worst) = (waits[waits.len() / 2], waits[waits.len() - 2]);
    eprintln!("from publish to next: p50 {p50:?}, p98 {worst:?}");
    assert!(p50 < Duration::from_millis(5), "{waits:?}");
}

/// Publishes as another process does: without telling the consumers in this one.
async fn send(client: &IggyClient, topic: &TopicName, partition: u32, numbers: Range<u64>) {
    let (stream, name) =
        (Identifier::named(topic.stream()).unwrap(), Identifier::named(topic.topic()).unwrap());
    let mut sent: Vec<_> = numbers
        .map(|number| IggyMessage::builder().payload(number.to_string().into()).build().unwrap())
        .collect();
    let to = Partitioning::partition_id(partition);
    client.send_messages(&stream, &name, &to, &mut sent).await.unwrap();
}

pub(crate) async fn messages_of_another_client_are_seen_soon(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 4).await;
    let mut member = join(&transport, "readers", &topic).await;
    nothing_comes(&mut *member).await;
    let client = broker.plain_client().await;
    for (partition, number) in [(3, 0), (0, 1), (1, 2)] {
        send(&client, &topic, partition, number..number + 1).await;
        let stored = Instant::now();
        let received = take(&mut *member, 1).await;
        assert_eq!(
            (received[0].partition, crate::broker::number(&received[0])),
            (partition, number)
        );
        assert!(stored.elapsed() < Duration::from_millis(500), "{:?}", stored.elapsed());
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

pub(crate) async fn a_transport_that_was_shut_down_keeps_no_other_from_watching(broker: Broker) {
    let (first, second) = (broker.transport().await, broker.transport().await);
    let topic = broker.topic("orders");
    provision(&first, &topic, 1).await;
    let client = broker.plain_client().await;
    // Only the first transport is there to see it.
    let mut held = join(&first, "first", &topic).await;
    nothing_comes(&mut *held).await;
    send(&client, &topic, 0, 0..1).await;
    take(&mut *held, 1).await;
    let mut member = join(&second, "second", &topic).await;
    take(&mut *member, 1).await;
    nothing_comes(&mut *member).await;
    first.shutdown().await.unwrap();
    for next in 1..3 {
        send(&client, &topic, 0, next..next + 1).await;
        assert_eq!(number(&take(&mut *member, 1).await[0]), next);
    }
    drop(held);
}

pub(crate) async fn a_topic_that_is_made_anew_is_read_from_its_beginning(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 1).await;
    let client = broker.plain_client().await;
    send(&client, &topic, 0, 0..4).await;
    let mut member = join(&transport, "readers", &topic).await;
    let mut had = 4;
    // Of less than it had, and of as much.
    for has in [3, 3] {
        take(&mut *member, had).await;
        member.acknowledge(0, had as u64 - 1).await.unwrap();
        nothing_comes(&mut *member).await;
        make_anew(&client, &topic).await;
        send(&client, &topic, 0, 0..has as u64).await;
        let told = tokio::time::timeout(Duration::from_secs(10), member.next(1)).await;
        let error = told.expect("it is noticed").unwrap_err();
        // A consumer joins again after both.
        assert!(error.is_retryable() || matches!(error, TransportError::NotFound(_)), "{error:?}");
        member = join(&transport, "readers", &topic).await;
        had = has;
    }
    assert_eq!(take(&mut *member, 3).await.iter().map(number).collect::<Vec<_>>(), [0, 1, 2]);
}

/// Deletes a topic of one partition and makes another of the same name.
async fn make_anew(client: &IggyClient, topic: &TopicName) {
    let (stream, name) =
        (Identifier::named(topic.stream()).unwrap(), Identifier::named(topic.topic()).unwrap());
    client.delete_topic(&stream, &name).await.unwrap();
    let (none, age, size) =
        (CompressionAlgorithm::None, IggyExpiry::ServerDefault, MaxTopicSize::ServerDefault);
    client.create_topic(&stream, topic.topic(), 1, none, None, age, size).await.unwrap();
}
