//! Bad days: what real servers were seen to do, played by a go-between.

use std::time::{Duration, Instant};

use iggy::prelude::IggyError;
use rustok_events::{EventTransport, TransportError, iggy::IggyTransport, transport::StartFrom};
use rustok_events_tests::eventually;

use crate::{
    broker::{Broker, join, message, nothing_comes, number, provision, publish, take},
    proxy::{Fate, Proxy},
};

const PING: u32 = 1;
const POLL: u32 = 100;
const SEND: u32 = 101;
const GET_OFFSET: u32 = 120;
const STORE_OFFSET: u32 = 121;
const GET_TOPIC: u32 = 300;

async fn behind_a_proxy() -> (Broker, Proxy, IggyTransport) {
    let broker = Broker::embedded().await;
    let proxy = Proxy::before(&broker.address).await;
    let mut config = broker.config();
    config.remote.addresses = vec![proxy.address.clone()];
    config.connection.send_timeout = Duration::from_millis(400);
    config.connection.request_timeout = Duration::from_millis(400);
    config.connection.heartbeat = Duration::from_millis(50);
    let transport = IggyTransport::new(config).await.unwrap();
    let topic = broker.topic("orders");
    provision(&transport, &topic, 1).await;
    (broker, proxy, transport)
}

/// A server without durable settings that was killed forgets messages, but not that they were handled.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_tail_is_named() {
    let (broker, proxy, transport) = behind_a_proxy().await;
    let topic = broker.topic("orders");
    publish(&transport, &topic, 0, 0..10).await;
    let mut member = join(&transport, "readers", &topic).await;
    take(&mut *member, 10).await;
    member.acknowledge(0, 9).await.unwrap();
    drop(member);
    // The last of the three numbers of the answer is the stored offset.
    proxy.decide(|code| if code == GET_OFFSET { Fate::Patch(12, 41) } else { Fate::Answer });
    let lost = transport.subscribe("readers", &topic, StartFrom::Beginning).await;
    let Err(lost) = lost else { panic!("the loss goes unnoticed") };
    assert!(
        matches!(
            &lost,
            TransportError::LogLostTail { group, partition: 0, stored: 41, end: 10, .. }
                if group == "readers"
        ),
        "{lost:?}"
    );
    assert_eq!((lost.code(), lost.is_retryable()), ("log_lost_tail", false));
    let health = transport.health().await.topics.unwrap();
    assert!(health[0].groups[0].partitions[0].lost_tail, "{health:?}");
}

/// After a restart a server says `Unauthenticated` to connections that are logged in, for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_passing_unauthenticated_is_mended_by_coming_back() {
    let (broker, proxy, transport) = behind_a_proxy().await;
    let topic = broker.topic("orders");
    let unauthenticated = Fate::Deny(IggyError::Unauthenticated.as_code());
    publish(&transport, &topic, 0, 0..3).await;
    let mut member = join(&transport, "readers", &topic).await;
    proxy.once(POLL, unauthenticated);
    let passing = member.next(3).await.unwrap_err();
    assert!(matches!(&passing, TransportError::Unavailable(_)) && passing.is_retryable());
    drop(member);
    assert_eq!(take(&mut *join(&transport, "readers", &topic).await, 3).await.len(), 3);

    proxy.once(SEND, unauthenticated);
    let passing = transport.publish(&topic, 0, vec![message("3")]).await.unwrap_err();
    assert!(matches!(&passing, TransportError::Unavailable(_)) && passing.is_retryable());
    publish(&transport, &topic, 0, 3..4).await;
}

/// A send without an answer holds up neither the relay nor the next send.
#[tokio::test(flavor = "multi_thread")]
async fn a_send_without_an_answer_is_bounded_and_may_be_repeated() {
    let (broker, proxy, transport) = behind_a_proxy().await;
    let topic = broker.topic("orders");
    for fate in [Fate::Swallow, Fate::HangUp] {
        proxy.once(SEND, fate);
        let begun = Instant::now();
        let away = transport.publish(&topic, 0, vec![message("0")]).await.unwrap_err();
        assert!(matches!(&away, TransportError::Unavailable(_)), "{away:?}");
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
        publish(&transport, &topic, 0, 0..1).await;
    }
    // Stored once by the repetition, and once more where only the answer was lost.
    let received = take(&mut *join(&transport, "readers", &topic).await, 3).await;
    assert!(received.iter().all(|message| number(message) == 0));
}

/// An offset that was refused to a former owner is no fault to be tried again.
#[tokio::test(flavor = "multi_thread")]
async fn an_offset_refused_to_a_former_owner_is_lost_ownership() {
    let (broker, proxy, transport) = behind_a_proxy().await;
    let topic = broker.topic("orders");
    publish(&transport, &topic, 0, 0..4).await;
    let mut member = join(&transport, "readers", &topic).await;
    take(&mut *member, 4).await;
    let refusals = [
        IggyError::NotResolvedConsumer(1.try_into().unwrap()),
        IggyError::ConsumerGroupMemberNotFound(1, 1.try_into().unwrap(), 1.try_into().unwrap()),
    ];
    for refusal in refusals {
        proxy.once(STORE_OFFSET, Fate::Deny(refusal.as_code()));
        let lost = member.acknowledge(0, 3).await.unwrap_err();
        assert!(matches!(&lost, TransportError::LostOwnership { partition: 0, .. }), "{lost:?}");
        // Read again from what the group is done with, should the partition come back.
        assert_eq!(
            take(&mut *member, 4).await.iter().map(number).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
    }
}

/// A server killed between two writes may not be able to read its own log.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_named_with_its_place() {
    let (broker, proxy, transport) = behind_a_proxy().await;
    let topic = broker.topic("orders");
    publish(&transport, &topic, 0, 0..4).await;
    let mut member = join(&transport, "readers", &topic).await;
    take(&mut *member, 2).await;
    proxy.once(POLL, Fate::Deny(IggyError::InvalidOffset(0).as_code()));
    let damaged = member.next(2).await.unwrap_err();
    assert!(
        matches!(&damaged, TransportError::LogDamaged { partition: 0, offset: 2, .. }),
        "{damaged:?}"
    );
    assert_eq!(damaged.code(), "log_damaged");
    // Should it be mended, it goes on there.
    assert_eq!(take(&mut *member, 2).await.iter().map(number).collect::<Vec<_>>(), [2, 3]);
}

/// A topic that is emptied begins at offset 0 again, and its consumers are its members still.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_ends_before_what_was_read_is_joined_anew() {
    let (broker, proxy, transport) = behind_a_proxy().await;
    let topic = broker.topic("orders");
    publish(&transport, &topic, 0, 0..10).await;
    let mut member = join(&transport, "readers", &topic).await;
    take(&mut *member, 10).await;
    nothing_comes(&mut *member).await;
    // The current offset of the only partition, behind the 57 bytes of what is said of the topic.
    proxy.decide(|code| if code == GET_TOPIC { Fate::Patch(57 + 16, 3) } else { Fate::Answer });
    let told = tokio::time::timeout(Duration::from_secs(5), member.next(1)).await;
    let anew = told.expect("it is noticed").unwrap_err();
    assert!(matches!(&anew, TransportError::Unavailable(_)) && anew.is_retryable(), "{anew:?}");
    assert!(anew.to_string().contains("partition 0"), "{anew}");
    drop(member);
    assert_eq!(take(&mut *join(&transport, "readers", &topic).await, 10).await.len(), 10);
}

/// A lag that cannot be asked for is not a lag of zero.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_lag_is_not_zero() {
    let (broker, proxy, transport) = behind_a_proxy().await;
    let topic = broker.topic("orders");
    publish(&transport, &topic, 0, 0..4).await;
    let _member = join(&transport, "readers", &topic).await;
    let lag = || async {
        let topics = transport.health().await.topics.unwrap();
        (topics[0].groups[0].partitions[0].lag, topics[0].groups[0].lag())
    };
    assert_eq!(lag().await, (Some(4), Some(4)));
    let unreadable = Fate::Deny(IggyError::CannotReadFile.as_code());
    proxy.decide(move |code| if code == GET_OFFSET { unreadable } else { Fate::Answer });
    assert_eq!(lag().await, (None, None));
}

/// A broker that no longer answers is away, also while nothing is asked of it.
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_noticed_while_idle() {
    let (broker, proxy, transport) = behind_a_proxy().await;
    let topic = broker.topic("orders");
    let mut member = join(&transport, "readers", &topic).await;
    assert!(transport.is_connected());
    proxy.decide(|code| if code == PING { Fate::Swallow } else { Fate::Answer });
    let lost = tokio::time::timeout(Duration::from_secs(5), member.next(1)).await.unwrap();
    assert!(matches!(&lost, Err(TransportError::Unavailable(_))), "{lost:?}");
    eventually(|| async { !transport.is_connected() }).await;
    proxy.decide(|_| Fate::Answer);
    eventually(|| async { transport.is_connected() }).await;
    publish(&transport, &topic, 0, 0..1).await;
}
