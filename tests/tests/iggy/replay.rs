//! Reading again.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rustok_events::{
    EventTransport, TransportError,
    iggy::{IggyTransport, Replay, ReplayPosition},
    transport::{IncomingMessage, Subscription as _, TopicName},
};

use rustok_events_tests::eventually;

use crate::{
    broker::{Broker, join, nothing_comes, number, provision, publish, take},
    stream::event,
};

async fn all(replay: &mut Replay) -> Vec<IncomingMessage> {
    let mut all = Vec::new();
    loop {
        let messages = replay.next_batch(7).await.unwrap();
        if messages.is_empty() {
            return all;
        }
        all.extend(messages);
    }
}

fn numbers(messages: &[IncomingMessage]) -> BTreeSet<u64> {
    messages.iter().map(number).collect()
}

/// Thirty events: on partition 0 the even ones, on partition 1 the odd ones; every third one cancels.
async fn thirty(transport: &IggyTransport, topic: &TopicName) {
    provision(transport, topic, 2).await;
    for number in 0..30 {
        let name = if number % 3 == 0 { "cancelled" } else { "placed" };
        // `a` and `b` lie where the broker's own hash puts them.
        let (key, partition) = if number % 2 == 0 { ("a", 0) } else { ("b", 1) };
        let event = event(name, key, topic, number);
        transport.publish(topic, partition, vec![event]).await.unwrap();
    }
}

pub(crate) async fn a_replay_reads_what_is_asked_for_and_disturbs_no_group(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    thirty(&transport, &topic).await;
    let mut member = join(&transport, "readers", &topic).await;
    take(&mut *member, 30).await;
    member.acknowledge(0, 14).await.unwrap();
    member.acknowledge(1, 4).await.unwrap();

    let mut replay = transport.replay(topic.clone()).start().await.unwrap();
    assert_eq!(replay.progress().remaining, 30);
    // What comes later is not part of it.
    transport.publish(&topic, 0, vec![event("placed", "a", &topic, 30)]).await.unwrap();
    let again = all(&mut replay).await;
    assert_eq!((again.len(), numbers(&again)), (30, (0..30).collect()));
    for partition in 0..2 {
        let of = again.iter().filter(|message| message.partition == partition);
        assert!(of.map(|message| message.offset).is_sorted());
    }
    let progress = replay.progress();
    assert_eq!((progress.remaining, progress.read, progress.delivered), (0, 30, 30));

    let mut cancelled =
        transport.replay(topic.clone()).event_name("cancelled").start().await.unwrap();
    assert_eq!(numbers(&all(&mut cancelled).await), (0..30).step_by(3).collect());
    assert_eq!(cancelled.progress().delivered, 10);

    let mut range = transport
        .replay(topic.clone())
        .partition(1)
        .from_offset(3)
        .to_offset(6)
        .start()
        .await
        .unwrap();
    assert_eq!(numbers(&all(&mut range).await), BTreeSet::from([7, 9, 11]));

    drop(member);
    let mut member = join(&transport, "readers", &topic).await;
    assert_eq!(take(&mut *member, 11).await.len(), 11, "ten unacknowledged and the late one");
    nothing_comes(&mut *member).await;
}

pub(crate) async fn a_replay_goes_on_where_it_stopped(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 1).await;
    publish(&transport, &topic, 0, 0..10).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let time = chrono::Utc::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    publish(&transport, &topic, 0, 10..30).await;

    let mut before = transport.replay(topic.clone()).to_time(time).start().await.unwrap();
    assert_eq!(numbers(&all(&mut before).await), (0..10).collect());
    let mut since = transport.replay(topic.clone()).from_time(time).start().await.unwrap();
    let first = since.next(8).await.unwrap();
    assert_eq!(numbers(&first), (10..18).collect());
    since.acknowledge(0, first[4].offset).await.unwrap();
    let written = serde_json::to_string(&since.position()).unwrap();
    drop(since);

    let position: ReplayPosition = serde_json::from_str(&written).unwrap();
    let mut rest = transport.replay(topic).resume(position).start().await.unwrap();
    assert_eq!(numbers(&all(&mut rest).await), (15..30).collect());
}

pub(crate) async fn a_group_is_set_back_while_it_has_no_members(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 1).await;
    publish(&transport, &topic, 0, 0..10).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let time = chrono::Utc::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    publish(&transport, &topic, 0, 10..20).await;
    let mut member = join(&transport, "readers", &topic).await;
    take(&mut *member, 20).await;
    member.acknowledge(0, 19).await.unwrap();
    let busy = transport.rewind("readers", &topic, None).await.unwrap_err();
    assert!(matches!(&busy, TransportError::LostOwnership { .. }), "{busy:?}");
    drop(member);

    for (since, expected) in [(Some(time), 10..20), (None, 0..20)] {
        // The member that left may be seen for a moment yet.
        eventually(|| async { transport.rewind("readers", &topic, since).await.is_ok() }).await;
        let mut member = join(&transport, "readers", &topic).await;
        let again = take(&mut *member, expected.clone().count()).await;
        assert_eq!(numbers(&again), expected.collect());
        member.acknowledge(0, 19).await.unwrap();
    }
}

pub(crate) async fn a_replay_keeps_to_its_rate(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 1).await;
    publish(&transport, &topic, 0, 0..100).await;
    let mut replay = transport.replay(topic).rate(200).start().await.unwrap();
    let begun = Instant::now();
    assert_eq!(all(&mut replay).await.len(), 100);
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(400) && took < Duration::from_millis(1500), "{took:?}");
}
