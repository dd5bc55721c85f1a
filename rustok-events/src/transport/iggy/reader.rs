//! Reading a partition without a group: nothing is stored, nobody is disturbed.
//!
//! Polled with the client's `poll_messages`: one client reads many partitions in turn and must know when one has no
//! more, which the SDK's consumer hides.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use iggy::prelude::{
    Consumer, Identifier, IggyMessage, IggyTimestamp, MessageClient as _, PollingStrategy,
    TopicDetails,
};
use tokio::sync::watch;

use super::{
    client::{Connection, Endpoint},
    errors, provision,
    signal::News,
    watch::{self as topic_watch, Watcher},
};
use crate::{
    backoff::Backoff,
    transport::{TopicName, TransportError},
};

/// Reads the partitions of one topic over a client of its own, which is made again when it is lost.
#[derive(Debug)]
pub(super) struct Reader {
    endpoint: Arc<Endpoint>,
    connection: Option<Connection>,
    topic: TopicName,
    stream_id: Identifier,
    topic_id: Identifier,
    name: Consumer,
}

impl Reader {
    pub(super) async fn open(
        endpoint: &Arc<Endpoint>,
        topic: &TopicName,
    ) -> Result<Self, TransportError> {
        let mut reader = Self {
            endpoint: Arc::clone(endpoint),
            connection: None,
            topic: topic.clone(),
            stream_id: provision::identifier(topic.stream())?,
            topic_id: provision::identifier(topic.topic())?,
            name: Consumer::new(provision::identifier("rustok-reader")?),
        };
        reader.connection().await?;
        Ok(reader)
    }

    async fn connection(&mut self) -> Result<&Connection, TransportError> {
        if self.connection.as_ref().is_none_or(|connection| !connection.is_alive()) {
            self.connection = None;
            self.connection =
                Some(Connection::open(&self.endpoint, 0, self.endpoint.member_check()).await?);
        }
        self.connection.as_ref().ok_or(TransportError::Closed)
    }

    /// What the broker says of the topic.
    pub(super) async fn details(&mut self) -> Result<TopicDetails, TransportError> {
        let topic = self.topic.clone();
        let details = provision::details(self.connection().await?, &topic).await?;
        details.ok_or_else(|| TransportError::NotFound(topic.to_string()))
    }

    /// The offsets after each partition's last message.
    pub(super) async fn ends(&mut self) -> Result<Vec<u64>, TransportError> {
        Ok(topic_watch::ends(&self.details().await?))
    }

    /// The offset of the first message that a strategy finds.
    pub(super) async fn offset_at(
        &mut self,
        partition: u32,
        strategy: PollingStrategy,
    ) -> Result<Option<u64>, TransportError> {
        let messages = self.poll(partition, strategy, 1).await?;
        Ok(messages.first().map(|message| message.header.offset))
    }

    /// The offset of the first message that the broker stored at a time or later: the end if there is none.
    pub(super) async fn first_since(
        &mut self,
        partition: u32,
        time: DateTime<Utc>,
    ) -> Result<u64, TransportError> {
        let micros = u64::try_from(time.timestamp_micros()).unwrap_or(0);
        // The end first: what comes between the two questions belongs to the time.
        let end = self.ends().await?.get(partition as usize).copied().unwrap_or(0);
        let strategy = PollingStrategy::timestamp(IggyTimestamp::from(micros));
        Ok(self.offset_at(partition, strategy).await?.unwrap_or(end))
    }

    /// Up to `count` messages of a partition.
    ///
    /// Cancellation-safe: nothing moves here but the caller's place.
    pub(super) async fn poll(
        &mut self,
        partition: u32,
        strategy: PollingStrategy,
        count: u32,
    ) -> Result<Vec<IggyMessage>, TransportError> {
        self.connection().await?;
        let connection = self.connection.as_ref().ok_or(TransportError::Closed)?;
        let what = format!("read `{}`", self.topic);
        let polled = connection.client().poll_messages(
            &self.stream_id,
            &self.topic_id,
            Some(partition),
            &self.name,
            &strategy,
            count,
            false,
        );
        match connection.raw(connection.request_timeout(), &what, polled).await? {
            Ok(polled) => Ok(polled.messages),
            Err(error) => Err(errors::map(error, &what, connection.user())),
        }
    }
}

/// Follows one partition from its first message on, waiting at its end.
pub(super) struct Tail {
    reader: Reader,
    partition: u32,
    next: u64,
    news: watch::Receiver<Vec<News>>,
    _watcher: Arc<Watcher>,
}

impl Tail {
    pub(super) fn new(reader: Reader, partition: u32, watcher: Arc<Watcher>) -> Self {
        Self { reader, partition, next: 0, news: watcher.signal.subscribe(), _watcher: watcher }
    }

    /// The next messages, as soon as there are any. Waits through the absence of the broker.
    pub(super) async fn next(&mut self, count: u32) -> Result<Vec<IggyMessage>, TransportError> {
        let timing = self.reader.endpoint.timing.clone();
        let mut backoff = Backoff::new(timing.reconnect_min, timing.reconnect_max);
        loop {
            self.news.borrow_and_update();
            // Before the first message is known, whatever the partition still has.
            let strategy = match self.next {
                0 => PollingStrategy::first(),
                next => PollingStrategy::offset(next),
            };
            match self.reader.poll(self.partition, strategy, count).await {
                Ok(messages) => {
                    if let Some(last) = messages.last() {
                        self.next = last.header.offset + 1;
                        return Ok(messages);
                    }
                }
                Err(error) if error.is_retryable() => tokio::time::sleep(backoff.next()).await,
                Err(error) => return Err(error),
            }
            // The pause bounds what a missed news costs, such as one that came before the broker was back.
            let changed = tokio::time::timeout(Duration::from_secs(1), self.news.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return Err(TransportError::Closed);
            }
        }
    }
}
