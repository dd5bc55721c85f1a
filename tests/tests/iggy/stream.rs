//! A group's subscription as a stream of envelopes.

use std::time::Duration;

use futures::StreamExt as _;
use rustok_events::{
    EventId, EventTransport,
    iggy::{Delivery, GroupSubscription},
    transport::{OutgoingMessage, TopicName},
};
use uuid::Uuid;

use crate::broker::{Broker, message, provision};

/// A message as the relay writes it.
pub(crate) fn event(name: &str, key: &str, topic: &TopicName, number: u64) -> OutgoingMessage {
    let id = EventId::new();
    let headers = [
        ("ce-id", id.to_string()),
        ("ce-type", name.to_owned()),
        ("ce-source", format!("/{topic}")),
        ("ce-specversion", "1.0".to_owned()),
        ("ce-time", "2026-01-02T03:04:05.000006Z".to_owned()),
        ("ce-dataversion", "1".to_owned()),
        ("ce-tenantid", Uuid::from_u128(1).to_string()),
        ("ce-partitionkey", key.to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    let headers = headers.into_iter().collect();
    OutgoingMessage { id, headers, payload: number.to_string().into_bytes().into() }
}

async fn receive(subscription: &mut GroupSubscription) -> Delivery {
    let next = tokio::time::timeout(Duration::from_secs(10), subscription.next()).await;
    next.expect("in time").expect("no end").expect("no error")
}

pub(crate) async fn a_group_receives_envelopes_and_acknowledges_each(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 1).await;
    let events: Vec<_> = (0..4).map(|number| event("order_placed", "a", &topic, number)).collect();
    let ids: Vec<_> = events.iter().map(|event| event.id).collect();
    transport.publish(&topic, 0, events).await.unwrap();

    let mut subscription = transport.subscribe_as_group("readers").await.unwrap();
    assert_eq!(subscription.topics(), std::slice::from_ref(&topic));
    for (number, id) in ids.iter().enumerate() {
        let delivery = receive(&mut subscription).await;
        assert_eq!((delivery.id(), delivery.name()), (*id, "order_placed"));
        assert_eq!(delivery.tenant_id(), Uuid::from_u128(1));
        assert_eq!(&delivery.envelope.event.bytes[..], number.to_string().as_bytes());
        assert_eq!((delivery.source(), delivery.offset()), (&topic, number as u64));
        if number < 2 {
            delivery.acknowledge().await.unwrap();
        }
    }
    drop(subscription);
    // As a `Stream`, too.
    let subscription = transport.subscribe_as_group("readers").await.unwrap();
    let again: Vec<_> = subscription.take(2).map(|delivery| delivery.unwrap().id()).collect().await;
    assert_eq!(again, ids[2..], "what was not acknowledged comes again");
}

pub(crate) async fn a_subscription_reads_every_topic_it_knows(broker: Broker) {
    let transport = broker.transport().await;
    let topics = [broker.topic("orders"), broker.topic("invoices")];
    for topic in &topics {
        provision(&transport, topic, 2).await;
        let event = event("placed", "a", topic, 1);
        transport.publish(topic, 1, vec![event]).await.unwrap();
    }
    let mut subscription = transport.subscribe_as_group("readers").await.unwrap();
    let mut sources = Vec::new();
    for _ in 0..2 {
        let delivery = receive(&mut subscription).await;
        sources.push(delivery.source().topic().to_owned());
        delivery.acknowledge().await.unwrap();
    }
    sources.sort();
    assert_eq!(sources, ["invoices", "orders"]);
    // What is no event is an error that says where it lies, and the stream goes on.
    let next = event("placed", "a", &topics[0], 2);
    let id = next.id;
    transport.publish(&topics[0], 1, vec![message("junk"), next]).await.unwrap();
    let malformed = subscription.next().await.unwrap().unwrap_err().to_string();
    assert!(malformed.contains("orders") && malformed.contains("offset 1"), "{malformed}");
    assert_eq!(receive(&mut subscription).await.id(), id);
}
