//! What is known, and what is not.

use rustok_events::iggy::TopicHealth;

use crate::broker::{Broker, join, provision, publish, take};

pub(crate) async fn lag_is_told_apart_from_not_knowing(broker: Broker) {
    let transport = broker.transport().await;
    let health = transport.health().await;
    assert!(health.connected);
    assert_eq!((health.logged_in, health.error.as_deref()), (Some(true), None));
    assert_eq!(health.topics.unwrap(), []);

    let topic = broker.topic("orders");
    provision(&transport, &topic, 2).await;
    publish(&transport, &topic, 0, 0..10).await;
    publish(&transport, &topic, 1, 0..5).await;
    let mut member = join(&transport, "readers", &topic).await;
    take(&mut *member, 15).await;
    member.acknowledge(0, 6).await.unwrap();
    let [TopicHealth { groups, partitions, .. }] = &transport.health().await.topics.unwrap()[..]
    else {
        panic!("one topic");
    };
    assert_eq!((*partitions, groups.len(), groups[0].members), (Some(2), 1, 1));
    assert_eq!((groups[0].group.as_str(), groups[0].lag()), ("readers", Some(8)));
    let lags: Vec<_> = groups[0].partitions.iter().map(|p| (p.done, p.lag, p.lost_tail)).collect();
    assert_eq!(lags, [(Some(6), Some(3), false), (None, Some(5), false)]);
    member.acknowledge(0, 9).await.unwrap();
    member.acknowledge(1, 4).await.unwrap();
    let health = transport.health().await;
    assert_eq!(health.topics.unwrap()[0].groups[0].lag(), Some(0));

    transport.shutdown().await.unwrap();
    let health = transport.health().await;
    assert!(!health.connected && health.error.is_some());
    assert_eq!((health.topics, health.logged_in), (None, None), "not known is not zero");
}
