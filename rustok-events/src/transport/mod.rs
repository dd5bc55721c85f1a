//! The seam between this crate and a broker. One page: what the relay and the consumers ask of it.
//!
//! A transport appends messages to one partition of a topic in the order given, and answers only when they are
//! stored; it hands a group's messages out in partition order, and stores how far the group has got.

pub(crate) mod counts;
#[cfg(feature = "iggy")]
pub mod iggy;

use std::{borrow::Cow, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{BoxError, EventId, envelope::WireHeaders};

/// A boxed future: what an object-safe method returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A topic, by the stream it lies in and its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName {
    stream: Cow<'static, str>,
    topic: Cow<'static, str>,
}

impl TopicName {
    /// Names a topic.
    pub fn new(stream: impl Into<Cow<'static, str>>, topic: impl Into<Cow<'static, str>>) -> Self {
        Self { stream: stream.into(), topic: topic.into() }
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The topic's name within the stream.
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.topic)
    }
}

/// A topic to provision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicSpec {
    /// Its name.
    pub name: TopicName,
    /// Its partition count; `None` takes the transport's default.
    pub partitions: Option<u32>,
}

/// A message on its way out.
#[derive(Debug, Clone)]
pub struct OutgoingMessage {
    /// The message id: the event's.
    pub id: EventId,
    /// The envelope.
    pub headers: WireHeaders,
    /// The event's bytes, as they were stored.
    pub payload: Bytes,
}

/// A message that came in.
#[derive(Debug, Clone)]
pub struct IncomingMessage {
    /// The partition it lies on, from 0.
    pub partition: u32,
    /// Its place on the partition, from 0.
    pub offset: u64,
    /// Its headers.
    pub headers: WireHeaders,
    /// Its bytes.
    pub payload: Bytes,
}

/// Where a group begins that has no stored offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartFrom {
    /// At the first message the topic still has.
    #[default]
    Beginning,
    /// At the first message appended after the group was created.
    End,
}

/// A broker, as the relay and the consumers see it.
///
/// Object-safe; every method is cancellation-safe in that a dropped call leaves the transport usable. A dropped
/// [`publish`](Self::publish) may still be applied.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a transport",
    label = "not a transport",
    note = "pass one such as `IggyTransport::new(config).await?`, or implement `EventTransport` for `{Self}`"
)]
pub trait EventTransport: Send + Sync + 'static {
    /// Makes sure that the topics exist, and returns their partition counts in the order given.
    ///
    /// # Errors
    /// [`TransportError::PartitionMismatch`] if a topic exists with another count than declared.
    fn provision<'a>(
        &'a self,
        topics: &'a [TopicSpec],
    ) -> BoxFuture<'a, Result<Vec<u32>, TransportError>>;

    /// Appends messages to one partition, in order, and returns once all are stored.
    ///
    /// After an error any prefix of them may be stored; sending all of them again is safe.
    fn publish<'a>(
        &'a self,
        topic: &'a TopicName,
        partition: u32,
        messages: Vec<OutgoingMessage>,
    ) -> BoxFuture<'a, Result<(), TransportError>>;

    /// Joins a group on a topic that exists.
    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        topic: &'a TopicName,
        start: StartFrom,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, TransportError>>;

    /// How long a topic keeps its messages; `None` if it keeps them for ever, or if this transport cannot tell.
    fn retention<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Duration>, TransportError>> {
        let _ = topic;
        Box::pin(async { Ok(None) })
    }

    /// Whether the transport can reach its broker now.
    fn is_connected(&self) -> bool;

    /// Ends the connection. Stopping twice is safe.
    fn shutdown(&self) -> BoxFuture<'_, Result<(), TransportError>>;
}

impl<T: EventTransport + ?Sized> EventTransport for Arc<T> {
    fn provision<'a>(
        &'a self,
        topics: &'a [TopicSpec],
    ) -> BoxFuture<'a, Result<Vec<u32>, TransportError>> {
        T::provision(self, topics)
    }

    fn publish<'a>(
        &'a self,
        topic: &'a TopicName,
        partition: u32,
        messages: Vec<OutgoingMessage>,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        T::publish(self, topic, partition, messages)
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        topic: &'a TopicName,
        start: StartFrom,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, TransportError>> {
        T::subscribe(self, group, topic, start)
    }

    fn retention<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Duration>, TransportError>> {
        T::retention(self, topic)
    }

    fn is_connected(&self) -> bool {
        T::is_connected(self)
    }

    fn shutdown(&self) -> BoxFuture<'_, Result<(), TransportError>> {
        T::shutdown(self)
    }
}

/// One member of a group on one topic. Dropping it leaves the group and acknowledges nothing.
pub trait Subscription: Send {
    /// Waits for messages and returns 1 to `max` of them, in order per partition.
    ///
    /// Cancellation-safe: a dropped call loses no message. After an error the subscription may be asked again if
    /// the error is retryable, and must be dropped otherwise.
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<IncomingMessage>, TransportError>>;

    /// Bounds how many messages of one partition may be handed out and not acknowledged. A partition with that many
    /// or more has to wait, and the others go on: a slow one neither fills the memory of its reader nor stops the
    /// others. A transport that does not implement it has no such bound, and a slow partition may keep the others of
    /// its member waiting.
    fn bound(&mut self, unacknowledged: usize) {
        let _ = unacknowledged;
    }

    /// Stores that the group is done with everything on the partition up to and including `offset`.
    ///
    /// After [`TransportError::LostOwnership`] the subscription goes on with its other partitions. What it handed out
    /// of the lost one is another member's; should the partition come back, it is handed out from what the group is
    /// done with by then.
    fn acknowledge(
        &mut self,
        partition: u32,
        offset: u64,
    ) -> BoxFuture<'_, Result<(), TransportError>>;
}

/// What went wrong at the broker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The broker cannot be reached, or did not answer in time.
    #[error("the broker is away: {0}")]
    Unavailable(#[source] BoxError),
    /// The broker refuses the credentials.
    #[error("the broker refuses the log-in of `{username}`: {source}")]
    Unauthenticated {
        /// Who tried.
        username: String,
        /// What the broker said.
        source: BoxError,
    },
    /// The broker refuses a message for good: sending it again cannot help. Messages before it may be stored.
    #[error("the broker refuses event {id}: {source}")]
    Refused {
        /// The event of the message.
        id: EventId,
        /// What the broker said.
        source: BoxError,
    },
    /// A topic has another number of partitions than the events declare, or than it had before it was made anew: keys
    /// would lie on other partitions than before, and lose their order.
    #[error(
        "topic `{topic}` has {found} partitions, but its events declare {declared}, or it had so many before: publish \
         to a new topic; or, once everything on the old one is handled, declare `partitions = {found}` and start again"
    )]
    PartitionMismatch {
        /// The topic.
        topic: TopicName,
        /// What the events declare, or what the topic had before.
        declared: u32,
        /// What the broker has.
        found: u32,
    },
    /// The partition now belongs to another member of the group; its work is done again there.
    #[error("partition {partition} of `{topic}` now belongs to another member of group `{group}`")]
    LostOwnership {
        /// The group.
        group: String,
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
    },
    /// The group is done with more than the partition holds: the log lost its tail, as a server does that was not
    /// set to be durable and was killed. What comes next would be taken for done.
    #[error(
        "partition {partition} of `{topic}` lost its tail: group `{group}` is done with offset {stored}, but the log \
         ends before {end}; republish what is missing and rewind the group"
    )]
    LogLostTail {
        /// The group.
        group: String,
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// The last offset that the group is done with.
        stored: u64,
        /// The offset that the next message will have.
        end: u64,
    },
    /// The broker cannot read its own log from this offset on: it was damaged, as by a server that was killed between
    /// two writes. Other partitions go on.
    #[error(
        "partition {partition} of `{topic}` cannot be read from offset {offset} on: {source}; mend the server's log, or \
         republish what follows and move the group past it"
    )]
    LogDamaged {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// The first offset that cannot be read.
        offset: u64,
        /// What the broker said.
        source: BoxError,
    },
    /// The stream, topic or group is not there.
    #[error("`{0}` does not exist at the broker")]
    NotFound(String),
    /// The configuration cannot work.
    #[error("configuration: {0}")]
    Config(String),
    /// The transport was shut down.
    #[error("the transport was shut down")]
    Closed,
    /// Anything else the broker answered.
    #[error("the broker answered with an error: {0}")]
    Broker(#[source] BoxError),
}

impl TransportError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "broker_away",
            Self::Unauthenticated { .. } => "login_refused",
            Self::Refused { .. } => "message_refused",
            Self::PartitionMismatch { .. } => "partition_mismatch",
            Self::LostOwnership { .. } => "ownership_lost",
            Self::LogLostTail { .. } => "log_lost_tail",
            Self::LogDamaged { .. } => "log_damaged",
            Self::NotFound(_) => "not_found",
            Self::Config(_) => "config",
            Self::Closed => "closed",
            Self::Broker(_) => "broker_error",
        }
    }

    /// Whether the same call can succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_)
                | Self::LostOwnership { .. }
                | Self::LogDamaged { .. }
                | Self::Broker(_)
        )
    }

    /// Whether whoever makes sure of topics may try again: as [`is_retryable`](Self::is_retryable), or the topic is
    /// gone, and the next look makes it anew or refuses its partition count by name.
    pub(crate) fn mends_with_provisioning(&self) -> bool {
        self.is_retryable() || matches!(self, Self::NotFound(_))
    }
}
