//! Provisioning and publishing.

use rustok_events::{
    EventId, EventTransport, TransportError,
    envelope::WireHeaders,
    transport::{OutgoingMessage, TopicSpec},
};

use crate::broker::{Broker, join, message, number, provision, publish, take};

pub(crate) async fn topics_are_provisioned_once_by_many_at_once(broker: Broker) {
    let topic = broker.topic("orders");
    let creators = (0..8).map(|_| {
        let (broker, topic) = (broker.clone(), topic.clone());
        tokio::spawn(async move {
            let transport = broker.transport().await;
            for _ in 0..2 {
                provision(&transport, &topic, 5).await;
            }
        })
    });
    for creator in creators.collect::<Vec<_>>() {
        creator.await.unwrap();
    }
    let default = TopicSpec { name: broker.topic("others"), partitions: None };
    assert_eq!(broker.transport().await.provision(&[default]).await.unwrap(), [8]);
}

pub(crate) async fn another_partition_count_is_refused_by_name(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 4).await;
    let other = TopicSpec { name: topic.clone(), partitions: Some(6) };
    let refused = transport.provision(&[other]).await.unwrap_err();
    assert!(
        matches!(&refused, TransportError::PartitionMismatch { declared: 6, found: 4, .. }),
        "{refused:?}"
    );
    let text = refused.to_string();
    assert!(text.contains(&topic.to_string()) && text.contains("4 partitions"), "{text}");
    let any = TopicSpec { name: topic, partitions: None };
    assert_eq!(
        transport.provision(&[any]).await.unwrap(),
        [4],
        "who declares none takes it as it is"
    );
}

pub(crate) async fn messages_keep_their_order_their_headers_and_their_bytes(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 3).await;
    let headers = WireHeaders::from([
        ("ce-type", b"order_placed".as_slice()),
        ("ce-partitionkey", &[0xff, 0x00]),
        ("grüße", "aus Köln".as_bytes()),
    ]);
    let sent: Vec<_> = (0..300_u64)
        .map(|number| OutgoingMessage {
            id: EventId::new(),
            headers: headers.clone(),
            payload: number.to_string().into_bytes().into(),
        })
        .collect();
    transport.publish(&topic, 2, sent).await.unwrap();
    let received = take(&mut *join(&transport, "readers", &topic).await, 300).await;
    for (place, message) in (0..).zip(&received) {
        assert_eq!((message.partition, message.offset, number(message)), (2, place, place));
        assert_eq!(message.headers, headers);
    }
}

pub(crate) async fn large_batches_are_cut_and_keep_their_order(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 1).await;
    publish(&transport, &topic, 0, 0..2_500).await;
    // Twenty of one megabyte do not fit into one request.
    let large = (2_500..2_520_u64)
        .map(|number| message(format!("{}{number}", "0".repeat(1_000_000))))
        .collect();
    transport.publish(&topic, 0, large).await.unwrap();
    let received = take(&mut *join(&transport, "readers", &topic).await, 2_520).await;
    let numbers: Vec<_> = received.iter().map(number).collect();
    assert_eq!(numbers, (0..2_520).collect::<Vec<_>>());
}

pub(crate) async fn a_message_that_the_broker_refuses_is_named(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    provision(&transport, &topic, 1).await;
    let with_header = |name: &str, value: &str| {
        let headers = WireHeaders::from([(name.to_owned(), value)]);
        OutgoingMessage { headers, ..message("1") }
    };
    let refused = [
        message(""),
        message(vec![b'x'; 64_000_001]),
        with_header("empty", ""),
        with_header("long", &"x".repeat(256)),
        with_header("", "x"),
        OutgoingMessage {
            headers: (0..500).map(|n| (format!("header-{n}"), vec![b'x'; 255])).collect(),
            ..message("1")
        },
    ];
    for wrong in refused {
        let id = wrong.id;
        let batch = vec![message("1"), wrong, message("2")];
        let error = transport.publish(&topic, 0, batch).await.unwrap_err();
        assert!(
            matches!(&error, TransportError::Refused { id: named, .. } if *named == id),
            "{error:?}"
        );
        assert!(!error.is_retryable());
        assert_eq!(error.code(), "message_refused");
    }
    publish(&transport, &topic, 0, 0..1).await;
    let received = take(&mut *join(&transport, "readers", &topic).await, 1).await;
    assert_eq!(received[0].offset, 0, "what was with a refused message was not stored");
}

pub(crate) async fn a_topic_that_is_missing_is_named(broker: Broker) {
    let transport = broker.transport().await;
    let topic = broker.topic("orders");
    let missing = transport.publish(&topic, 0, vec![message("1")]).await.unwrap_err();
    assert!(
        matches!(&missing, TransportError::NotFound(what) if what.contains("orders")),
        "{missing:?}"
    );
    provision(&transport, &topic, 1).await;
    publish(&transport, &topic, 0, 0..1).await;
    let missing = transport.publish(&topic, 7, vec![message("1")]).await.unwrap_err();
    assert!(matches!(&missing, TransportError::NotFound(_)), "{missing:?}");
}
