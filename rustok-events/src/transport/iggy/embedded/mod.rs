//! A broker in this process that speaks Iggy's binary protocol on loopback.
//!
//! The genuine SDK client is the only way in, so that embedded and remote run the same code on the client's side.
//!
//! ```text
//! SDK client ─ TCP ─▶ connection ─▶ command ─▶ topology, groups, offsets
//!                                      └─────▶ partition ─▶ store: memory, or one writer thread and its journal
//! ```
//!
//! # What it keeps to
//! - A send is acknowledged once it is stored under the [`SyncPolicy`]; nobody reads a message before that.
//! - A message's offset is never given to another message, also not after retention or a purge.
//! - A stored offset lies within the log. One lower than the last is taken too: rewinding is the client's business.
//! - A write that fails is answered with an error. After a failed write to the disk (a full one, say) the storage
//!   engine takes no more until the broker is started again; nothing acknowledged is lost by that.
//!
//! # What it leaves out
//! One user, whose name and password are the configuration's; no permissions, TLS, HTTP, clustering, or message
//! deduplication. Such commands are refused with the protocol's own error, as are unknown ones.

mod batch;
mod broker;
mod commands;
mod config;
mod connection;
mod error;
mod frame;
#[cfg(feature = "testing")]
pub(crate) mod fuzz;
mod groups;
mod listener;
mod partition;
mod retention;
mod session;
mod store;
mod tokens;
mod topology;

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use self::broker::Broker;
pub use self::{
    config::{BrokerConfig, Rebalance, Retention, SyncPolicy},
    error::BrokerError,
};

/// A running broker. Cheap to clone.
///
/// It stops with [`shutdown`](Self::shutdown), or when the last clone is dropped. After a drop it takes a moment
/// until its folder is free; [`start`](Self::start) waits for half a second.
#[derive(Debug, Clone)]
pub struct EmbeddedBroker {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    address: SocketAddr,
    stop: CancellationToken,
    stopped: watch::Receiver<bool>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl EmbeddedBroker {
    /// Opens the data and listens. Clients can connect as soon as it returns.
    ///
    /// Runs on the tokio runtime it is called on. A dropped call starts nothing.
    ///
    /// # Errors
    /// [`BrokerError::DataDirInUse`] if another broker has the folder; the other variants say which step failed.
    pub async fn start(config: BrokerConfig) -> Result<Self, BrokerError> {
        config.check()?;
        let bind = |source| BrokerError::Bind { address: config.bind, source };
        let listener = TcpListener::bind(config.bind).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (broker, remains) = match &config.data_dir {
            None => Broker::open(config, address)?,
            Some(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || Broker::open(config, address))
                    .await
                    .map_err(|error| BrokerError::Storage { path, source: error.into() })??
            }
        };
        let stop = CancellationToken::new();
        let (done, stopped) = watch::channel(false);
        tokio::spawn(listener::run(Arc::new(broker), listener, remains, stop.clone(), done));
        Ok(Self { handle: Arc::new(Handle { address, stop, stopped }) })
    }

    /// Where it listens: the port is the real one also where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.handle.address
    }

    /// Takes no more requests, finishes those under way, closes the data and frees address and folder. Stopping
    /// twice is safe.
    ///
    /// Cancellation-safe: a dropped call leaves the broker stopping.
    pub async fn shutdown(&self) {
        self.handle.stop.cancel();
        let mut stopped = self.handle.stopped.clone();
        // An error means that the runtime took the broker down already.
        drop(stopped.wait_for(|stopped| *stopped).await);
    }
}
