//! What the cases work with.

use std::{future::Future, ops::Range, str::FromStr, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use iggy::{
    clients::consumer::ReceivedMessage,
    prelude::{
        AutoCommit, Client, CompressionAlgorithm, Consumer, Identifier, IggyClient, IggyConsumer,
        IggyDuration, IggyError, IggyExpiry, IggyMessage, MaxTopicSize, MessageClient,
        Partitioning, PollingStrategy, StreamClient, SystemClient, TopicClient,
    },
};

use super::{Outcome, Target};

pub(super) const TOPIC: &str = "orders";
pub(super) const GROUP: &str = "search";
/// How long something that is to come may take.
pub(super) const SOON: Duration = Duration::from_secs(45);

/// A target, and a stream on it that is this case's own.
pub(super) struct Bench {
    pub(super) target: Target,
    pub(super) stream: String,
}

impl Bench {
    pub(super) fn new(target: Target) -> Self {
        Self::named(target, format!("conformance-{}", uuid::Uuid::now_v7().simple()))
    }

    pub(super) fn named(target: Target, stream: String) -> Self {
        Self { target, stream }
    }

    pub(super) fn stream_id(&self) -> Identifier {
        named(&self.stream)
    }

    /// A client that is not connected.
    pub(super) fn unconnected(&self, password: &str) -> Result<IggyClient, String> {
        let Target { address, username, .. } = &self.target;
        let options = "reconnection_retries=3&reconnection_interval=100ms\
                       &reestablish_after=10ms&nodelay=true";
        IggyClient::from_connection_string(&format!(
            "iggy://{username}:{password}@{address}?{options}"
        ))
        .said("a client")
    }

    pub(super) async fn client(&self) -> Result<IggyClient, String> {
        let client = self.unconnected(&self.target.password)?;
        client.connect().await.said("connecting")?;
        Ok(client)
    }

    /// Makes the stream and its topic.
    pub(super) async fn provision(&self, client: &IggyClient, partitions: u32) -> Outcome {
        client.create_stream(&self.stream).await.said("creating the stream")?;
        self.create_topic(client, partitions).await.said("creating the topic")
    }

    pub(super) async fn create_topic(
        &self,
        client: &IggyClient,
        partitions: u32,
    ) -> Result<(), IggyError> {
        let (compression, expiry) = (CompressionAlgorithm::None, IggyExpiry::NeverExpire);
        let (stream, size) = (self.stream_id(), MaxTopicSize::Unlimited);
        client
            .create_topic(&stream, TOPIC, partitions, compression, None, expiry, size)
            .await
            .map(drop)
    }

    /// Sends numbers to a partition.
    pub(super) async fn send(
        &self,
        client: &IggyClient,
        partition: u32,
        numbers: Range<u64>,
    ) -> Outcome {
        let mut messages = numbers.map(message).collect::<Result<Vec<_>, _>>()?;
        self.send_all(client, &Partitioning::partition_id(partition), &mut messages)
            .await
            .said("sending")
    }

    pub(super) async fn send_all(
        &self,
        client: &IggyClient,
        place: &Partitioning,
        messages: &mut [IggyMessage],
    ) -> Result<(), IggyError> {
        client.send_messages(&self.stream_id(), &named(TOPIC), place, messages).await
    }

    /// Polls a partition as a consumer of its own.
    pub(super) async fn poll(
        &self,
        client: &IggyClient,
        partition: u32,
        strategy: PollingStrategy,
        count: u32,
    ) -> Result<Vec<IggyMessage>, String> {
        let consumer = Consumer::new(named("reader"));
        let (stream, topic) = (self.stream_id(), named(TOPIC));
        client
            .poll_messages(&stream, &topic, Some(partition), &consumer, &strategy, count, false)
            .await
            .map(|polled| polled.messages)
            .said("polling")
    }

    /// Polls numbers.
    pub(super) async fn numbers(
        &self,
        client: &IggyClient,
        partition: u32,
        strategy: PollingStrategy,
        count: u32,
    ) -> Result<Vec<u64>, String> {
        self.poll(client, partition, strategy, count).await?.iter().map(number).collect()
    }

    /// A member of the group, through the consumer builder.
    pub(super) async fn member(&self, client: &IggyClient) -> Result<IggyConsumer, String> {
        let mut consumer = client
            .consumer_group(GROUP, &self.stream, TOPIC)
            .said("a consumer")?
            .auto_commit(AutoCommit::Disabled)
            .create_consumer_group_if_not_exists()
            .auto_join_consumer_group()
            .polling_strategy(PollingStrategy::next())
            .poll_interval(IggyDuration::from(2_000))
            .batch_length(50)
            .build();
        consumer.init().await.said("joining the group")?;
        // The SDK's consumer takes the client's first "connected" event for a new one if it sees it after it has
        // joined, and never polls then. Behind a reconnection it joins again by itself, in order.
        client.disconnect().await.said("disconnecting")?;
        client.connect().await.said("connecting again")?;
        let joined = async || Ok(client.get_me().await.said("looking")?.consumer_groups_count > 0);
        until("the client is a member", joined).await?;
        Ok(consumer)
    }
}

pub(super) fn named(name: &str) -> Identifier {
    // The names here have between 1 and 255 bytes.
    Identifier::named(name).unwrap_or_default()
}

/// A message whose payload is a number.
pub(super) fn message(number: u64) -> Result<IggyMessage, String> {
    IggyMessage::builder()
        .id(u128::from(number) + 1)
        .payload(Bytes::from(number.to_string()))
        .build()
        .said("a message")
}

pub(super) fn number(message: &IggyMessage) -> Result<u64, String> {
    let payload = String::from_utf8_lossy(&message.payload);
    u64::from_str(&payload).map_err(|_| format!("a number was sent, {payload:?} came"))
}

/// The next message; that none comes is an error.
pub(super) async fn next(consumer: &mut IggyConsumer) -> Result<ReceivedMessage, String> {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        match tokio::time::timeout_at(deadline, consumer.next()).await {
            Ok(Some(Ok(received))) => return Ok(received),
            // Passing errors are the SDK's to get over.
            Ok(Some(Err(_))) => {}
            Ok(None) => return Err("the consumer's stream ended".to_owned()),
            Err(_) => return Err(format!("no message within {SOON:?}")),
        }
    }
}

/// Looks again until it is so.
pub(super) async fn until<F: Future<Output = Result<bool, String>>>(
    what: &str,
    mut holds: impl FnMut() -> F,
) -> Outcome {
    let deadline = tokio::time::Instant::now() + SOON;
    while !holds().await? {
        if tokio::time::Instant::now() > deadline {
            return Err(format!("not within {SOON:?}: {what}"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// That something is as expected.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Outcome {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected:?}, found {found:?}"))
    }
}

/// That an error came, and this one.
pub(super) fn refused<T: std::fmt::Debug>(
    what: &str,
    result: Result<T, IggyError>,
    expected: impl Fn(&IggyError) -> bool,
) -> Outcome {
    match result {
        Err(error) if expected(&error) => Ok(()),
        other => Err(format!("{what}: a refusal was expected, {other:?} came")),
    }
}

/// Says what was being done when an error came.
pub(super) trait Said<T> {
    fn said(self, doing: &str) -> Result<T, String>;
}

impl<T> Said<T> for Result<T, IggyError> {
    fn said(self, doing: &str) -> Result<T, String> {
        self.map_err(|error| format!("{doing}: {error}"))
    }
}
