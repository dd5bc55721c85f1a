//! The lower floor: bytes to a topic and bytes from a partition, without events, groups or offsets.
//!
//! For tools and tests. Events go through a transaction and the relay; nothing here takes one.

use std::collections::{BTreeMap, VecDeque};

use iggy::prelude::IggyMessage;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use super::{
    IggyConfig, IggyMode, IggyTransport,
    config::{ConnectionConfig, EmbeddedConfig, RemoteConfig, Retention, Topology},
    reader::Tail,
};
use crate::{
    EventId, partition,
    transport::{
        BoxFuture, EventTransport as _, OutgoingMessage, TopicName, TopicSpec, TransportError,
    },
};

/// What a connector is told: the part of an [`IggyConfig`] that concerns connections and topics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectorConfig {
    /// Where the broker runs.
    pub mode: IggyMode,
    /// The embedded broker.
    pub embedded: EmbeddedConfig,
    /// The server.
    pub remote: RemoteConfig,
    /// What topics are like that a publish makes.
    pub topology: Topology,
    /// How long they keep messages.
    pub retention: Retention,
    /// How connections behave.
    pub connection: ConnectionConfig,
}

impl From<&IggyConfig> for ConnectorConfig {
    fn from(config: &IggyConfig) -> Self {
        Self {
            mode: config.mode,
            embedded: config.embedded.clone(),
            remote: config.remote.clone(),
            topology: config.topology.clone(),
            retention: config.retention.clone(),
            connection: config.connection.clone(),
        }
    }
}

/// Bytes for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishRequest {
    /// The stream; empty for [`Topology::stream_name`].
    pub stream: String,
    /// The topic. It is made if it is not there.
    pub topic: String,
    /// What is sent, 1 byte to 64 MB.
    pub payload: Vec<u8>,
    /// The message id.
    pub id: EventId,
    /// Requests with equal keys go to one partition, in order. Without a key the id decides.
    pub partition_key: Option<Vec<u8>>,
    /// Headers, with names and values of 1 to 255 bytes.
    pub headers: BTreeMap<String, Vec<u8>>,
}

impl PublishRequest {
    /// Bytes for a topic, under a new id.
    pub fn new(
        stream: impl Into<String>,
        topic: impl Into<String>,
        payload: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            stream: stream.into(),
            topic: topic.into(),
            payload: payload.into(),
            id: EventId::new(),
            partition_key: None,
            headers: BTreeMap::new(),
        }
    }

    /// Sets what keeps its order.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.partition_key = Some(key.into());
        self
    }

    /// Sets the message id.
    #[must_use]
    pub fn id(mut self, id: EventId) -> Self {
        self.id = id;
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }
}

/// A way to a broker.
pub trait IggyConnector: Send + Sync + 'static {
    /// Connects and logs in. A connector that is connected keeps its connection.
    fn connect<'a>(
        &'a self,
        config: &'a ConnectorConfig,
    ) -> BoxFuture<'a, Result<(), ConnectorError>>;

    /// Appends bytes to a topic. Returns once they are stored.
    fn publish(&self, request: PublishRequest) -> BoxFuture<'_, Result<(), ConnectorError>>;

    /// Reads a partition of a topic that exists, from its first message on.
    fn subscribe<'a>(
        &'a self,
        stream: &'a str,
        topic: &'a str,
        partition: u32,
    ) -> BoxFuture<'a, Result<Box<dyn MessageSubscriber>, ConnectorError>>;

    /// Ends the connection. Stopping twice is safe.
    fn shutdown(&self) -> BoxFuture<'_, Result<(), ConnectorError>>;

    /// Whether the broker can be reached now.
    fn is_connected(&self) -> bool;
}

/// The messages of one partition, in order.
pub trait MessageSubscriber: Send {
    /// The next message's bytes; waits for one. `None` once the connector was shut down.
    ///
    /// Cancellation-safe: a dropped call loses no message.
    fn recv(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, ConnectorError>>;
}

/// Why a connector did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectorError {
    /// It is not connected: `connect` was not called, or `shutdown` was.
    #[error("not connected: call `connect` first")]
    NotConnected,
    /// The configuration is another mode's.
    #[error("this connector is for mode `{expected:?}`, the configuration is for `{found:?}`")]
    Mode {
        /// What the connector is for.
        expected: IggyMode,
        /// What the configuration says.
        found: IggyMode,
    },
    /// The topic has no such partition.
    #[error("`{topic}` has {count} partitions, counted from 0: there is no partition {partition}")]
    NoPartition {
        /// The topic.
        topic: TopicName,
        /// What was asked for.
        partition: u32,
        /// What it has.
        count: u32,
    },
    /// What the transport said.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl ConnectorError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::Mode { .. } => "wrong_mode",
            Self::NoPartition { .. } => "no_partition",
            Self::Transport(error) => error.code(),
        }
    }

    /// Whether the same call can succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Transport(error) if error.is_retryable())
    }
}

macro_rules! connectors {
    ($($(#[$doc:meta])* $name:ident = $mode:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name(Core);

        impl $name {
            /// A connector that is not connected yet.
            pub fn new() -> Self {
                Self::default()
            }
        }

        impl IggyConnector for $name {
            fn connect<'a>(
                &'a self,
                config: &'a ConnectorConfig,
            ) -> BoxFuture<'a, Result<(), ConnectorError>> {
                Box::pin(self.0.connect($mode, config))
            }

            fn publish(&self, request: PublishRequest) -> BoxFuture<'_, Result<(), ConnectorError>> {
                Box::pin(self.0.publish(request))
            }

            fn subscribe<'a>(
                &'a self,
                stream: &'a str,
                topic: &'a str,
                partition: u32,
            ) -> BoxFuture<'a, Result<Box<dyn MessageSubscriber>, ConnectorError>> {
                Box::pin(self.0.subscribe(stream, topic, partition))
            }

            fn shutdown(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
                Box::pin(self.0.shutdown())
            }

            fn is_connected(&self) -> bool {
                self.0.is_connected()
            }
        }
    )+};
}

connectors! {
    /// Connects to a server.
    RemoteConnector = IggyMode::Remote;
    /// Starts the broker in this process, or shares the one that runs on the folder, and connects to it.
    EmbeddedConnector = IggyMode::Embedded;
}

/// What both connectors are: the address is the only difference.
#[derive(Debug, Default)]
struct Core {
    transport: RwLock<Option<IggyTransport>>,
    stop: CancellationToken,
}

impl Core {
    async fn connect(
        &self,
        mode: IggyMode,
        config: &ConnectorConfig,
    ) -> Result<(), ConnectorError> {
        if config.mode != mode {
            return Err(ConnectorError::Mode { expected: mode, found: config.mode });
        }
        let mut transport = self.transport.write().await;
        if self.stop.is_cancelled() {
            return Err(TransportError::Closed.into());
        }
        if transport.is_none() {
            let config = config.clone();
            *transport = Some(
                IggyTransport::new(IggyConfig {
                    mode,
                    embedded: config.embedded,
                    remote: config.remote,
                    topology: config.topology,
                    retention: config.retention,
                    connection: config.connection,
                    ..IggyConfig::default()
                })
                .await?,
            );
        }
        Ok(())
    }

    async fn transport(&self) -> Result<IggyTransport, ConnectorError> {
        self.transport.read().await.clone().ok_or(ConnectorError::NotConnected)
    }

    async fn publish(&self, request: PublishRequest) -> Result<(), ConnectorError> {
        let transport = self.transport().await?;
        let stream = match request.stream {
            stream if stream.is_empty() => transport.config().topology.stream_name.clone(),
            stream => stream,
        };
        let topic = TopicName::new(stream, request.topic);
        let spec = TopicSpec { name: topic.clone(), partitions: None };
        let counts = transport.provision(&[spec]).await?;
        let key = request.partition_key.as_deref().unwrap_or(request.id.as_bytes());
        let partition = partition::of(key, counts.first().copied().unwrap_or(1));
        let message = OutgoingMessage {
            id: request.id,
            headers: request.headers,
            payload: request.payload.into(),
        };
        Ok(transport.publish(&topic, partition, vec![message]).await?)
    }

    async fn subscribe(
        &self,
        stream: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Box<dyn MessageSubscriber>, ConnectorError> {
        let transport = self.transport().await?;
        let topic = TopicName::new(stream.to_owned(), topic.to_owned());
        let (tail, count) = transport.tail(&topic, partition).await?;
        if partition >= count {
            return Err(ConnectorError::NoPartition { topic, partition, count });
        }
        Ok(Box::new(Subscriber { tail, waiting: VecDeque::new(), stop: self.stop.clone() }))
    }

    async fn shutdown(&self) -> Result<(), ConnectorError> {
        self.stop.cancel();
        match self.transport.write().await.take() {
            Some(transport) => Ok(transport.shutdown().await?),
            None => Ok(()),
        }
    }

    fn is_connected(&self) -> bool {
        // While somebody connects or shuts down, it is not.
        self.transport
            .try_read()
            .is_ok_and(|transport| transport.as_ref().is_some_and(IggyTransport::is_connected))
    }
}

struct Subscriber {
    tail: Tail,
    waiting: VecDeque<IggyMessage>,
    stop: CancellationToken,
}

impl MessageSubscriber for Subscriber {
    fn recv(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, ConnectorError>> {
        const READ_AHEAD: u32 = 100;
        Box::pin(async move {
            loop {
                if let Some(message) = self.waiting.pop_front() {
                    return Ok(Some(message.payload.into()));
                }
                match self.stop.run_until_cancelled(self.tail.next(READ_AHEAD)).await {
                    None => return Ok(None),
                    Some(messages) => self.waiting.extend(messages?),
                }
            }
        })
    }
}
