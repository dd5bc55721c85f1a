//! The lower floor: bytes in, bytes out.

use std::time::Duration;

use rustok_events::{
    TransportError,
    iggy::{
        IggyConfig,
        connector::{
            ConnectorConfig, ConnectorError, EmbeddedConnector, IggyConnector, MessageSubscriber,
            PublishRequest, RemoteConnector,
        },
    },
};

use crate::broker::Broker;

async fn receive(subscriber: &mut dyn MessageSubscriber) -> Option<Vec<u8>> {
    tokio::time::timeout(Duration::from_secs(10), subscriber.recv()).await.unwrap().unwrap()
}

async fn in_and_out(connector: &dyn IggyConnector, config: &ConnectorConfig, stream: &str) {
    let request = || PublishRequest::new(stream, "orders", "x");
    let early = connector.publish(request()).await;
    assert!(matches!(early, Err(ConnectorError::NotConnected)), "{early:?}");
    assert!(!connector.is_connected());
    connector.connect(config).await.unwrap();
    connector.connect(config).await.unwrap();
    assert!(connector.is_connected());
    for number in 0..3 {
        let request = PublishRequest::new(stream, "orders", number.to_string());
        connector.publish(request.key("customer").header("n", number.to_string())).await.unwrap();
    }
    let none = connector.subscribe(stream, "orders", 8).await;
    assert!(matches!(none, Err(ConnectorError::NoPartition { count: 8, .. })));
    let none = connector.subscribe(stream, "nothing", 0).await;
    assert!(matches!(none, Err(ConnectorError::Transport(TransportError::NotFound(_)))));
    // `xxh32("customer", 0) mod 8`, the server's own choice for a messages key.
    let mut subscriber = connector.subscribe(stream, "orders", 1).await.unwrap();
    for number in 0..3 {
        let bytes = receive(&mut *subscriber).await.unwrap();
        assert_eq!(bytes, number.to_string().into_bytes());
    }
    // It waits for more, and ends with the connector.
    connector.publish(request().key("customer")).await.unwrap();
    assert_eq!(receive(&mut *subscriber).await.unwrap(), b"x");
    connector.shutdown().await.unwrap();
    connector.shutdown().await.unwrap();
    assert_eq!(receive(&mut *subscriber).await, None);
    assert!(!connector.is_connected());
}

pub(crate) async fn bytes_go_in_and_come_out_by_partition(broker: Broker) {
    let config = ConnectorConfig::from(&broker.config());
    in_and_out(&RemoteConnector::new(), &config, &broker.stream).await;
    let wrong = EmbeddedConnector::new().connect(&config).await;
    assert!(matches!(wrong, Err(ConnectorError::Mode { .. })), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_connector_brings_its_broker() {
    let mut config = IggyConfig::default();
    config.embedded.persistent = false;
    in_and_out(&EmbeddedConnector::new(), &ConnectorConfig::from(&config), "test").await;
}
