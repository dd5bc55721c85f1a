//! What the tests need of the plain SDK.

use std::{collections::BTreeMap, net::SocketAddr, str::FromStr, time::Duration};

use futures::StreamExt;
use iggy::{clients::consumer::ReceivedMessage, prelude::*};
use rustok_events::iggy::embedded::{BrokerConfig, EmbeddedBroker};

pub(crate) const STREAM: &str = "shop";
pub(crate) const TOPIC: &str = "orders";

pub(crate) async fn broker() -> EmbeddedBroker {
    EmbeddedBroker::start(BrokerConfig::in_memory()).await.expect("a broker in memory starts")
}

/// A client that gives up at once where it cannot connect.
pub(crate) fn unconnected(address: SocketAddr, username: &str, password: &str) -> IggyClient {
    let options =
        "reconnection_retries=1&reconnection_interval=10ms&reestablish_after=10ms&nodelay=true";
    IggyClient::from_connection_string(&format!("iggy://{username}:{password}@{address}?{options}"))
        .expect("a client")
}

/// A client that does not log in.
pub(crate) fn stranger(address: SocketAddr) -> IggyClient {
    IggyClientBuilder::new().with_tcp().with_server_address(address.to_string()).build().unwrap()
}

pub(crate) async fn connect(address: SocketAddr) -> IggyClient {
    let client = unconnected(address, "iggy", "iggy");
    client.connect().await.expect("the client connects");
    client
}

pub(crate) fn id(name: &str) -> Identifier {
    Identifier::named(name).unwrap()
}

/// Makes the stream and topic the tests use.
pub(crate) async fn provision(client: &IggyClient, partitions: u32) {
    client.create_stream(STREAM).await.expect("the stream is made");
    client
        .create_topic(
            &id(STREAM),
            TOPIC,
            partitions,
            CompressionAlgorithm::None,
            None,
            IggyExpiry::NeverExpire,
            MaxTopicSize::Unlimited,
        )
        .await
        .expect("the topic is made");
}

pub(crate) fn message(number: u64) -> IggyMessage {
    let headers = BTreeMap::from([(
        HeaderKey::try_from("ce-type").unwrap(),
        HeaderValue::from_str("order_placed").unwrap(),
    )]);
    IggyMessage::builder()
        .id(u128::from(number) + 1)
        .payload(number.to_string().into())
        .user_headers(headers)
        .build()
        .unwrap()
}

pub(crate) fn number(message: &IggyMessage) -> u64 {
    String::from_utf8_lossy(&message.payload).parse().expect("the payload is a number")
}

/// Sends plainly, to one partition.
pub(crate) async fn send(client: &IggyClient, partition: u32, numbers: std::ops::Range<u64>) {
    let mut messages: Vec<IggyMessage> = numbers.map(message).collect();
    client
        .send_messages(
            &id(STREAM),
            &id(TOPIC),
            &Partitioning::partition_id(partition),
            &mut messages,
        )
        .await
        .expect("the messages are taken");
}

/// Polls plainly, as a consumer named `reader`.
pub(crate) async fn poll(
    client: &IggyClient,
    partition: u32,
    strategy: PollingStrategy,
    count: u32,
) -> Vec<IggyMessage> {
    let reader = Consumer::new(id("reader"));
    client
        .poll_messages(&id(STREAM), &id(TOPIC), Some(partition), &reader, &strategy, count, false)
        .await
        .expect("the poll is answered")
        .messages
}

pub(crate) fn numbers(messages: &[IggyMessage]) -> Vec<u64> {
    messages.iter().map(number).collect()
}

pub(crate) async fn member(client: &IggyClient, group: &str) -> IggyConsumer {
    let mut consumer = client
        .consumer_group(group, STREAM, TOPIC)
        .unwrap()
        .auto_commit(AutoCommit::Disabled)
        .create_consumer_group_if_not_exists()
        .auto_join_consumer_group()
        .polling_strategy(PollingStrategy::next())
        .poll_interval(IggyDuration::from_str("2ms").unwrap())
        .batch_length(100)
        .build();
    consumer.init().await.expect("the member joins");
    // The SDK's consumer takes the client's first "connected" event for a new one if it sees it after it has joined,
    // and never polls then. Behind a reconnection it joins again by itself, in order.
    client.disconnect().await.expect("the client disconnects");
    client.connect().await.expect("the client connects again");
    while client.get_me().await.expect("the client is known").consumer_groups_count == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    consumer
}

/// The next message, or `None` if none comes within the time.
pub(crate) async fn next(consumer: &mut IggyConsumer, within: Duration) -> Option<ReceivedMessage> {
    let next = tokio::time::timeout(within, consumer.next()).await.ok()?;
    Some(next.expect("the stream goes on").expect("the message is read"))
}
