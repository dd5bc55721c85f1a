//! The lower floor: bytes to a topic and bytes from a partition, without events, groups or offsets.
//!
//! For tools and tests. Events go through a transaction and the relay; nothing here takes one.

mod core;
mod error;
mod request;

pub use self::{
    core::{EmbeddedConnector, RemoteConnector},
    error::ConnectorError,
    request::PublishRequest,
};
use super::{
    IggyConfig, IggyMode,
    config::{ConnectionConfig, EmbeddedConfig, RemoteConfig, Retention, Topology},
};
use crate::transport::BoxFuture;

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
