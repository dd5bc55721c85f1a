//! The embedded brokers of this process: transports on one folder share one.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Weak},
    time::Duration,
};

use tokio::{sync::Mutex, time::Instant};

use super::{
    config::{EmbeddedConfig, Sync},
    embedded::{BrokerConfig, BrokerError, EmbeddedBroker, SyncPolicy},
};
use crate::transport::TransportError;

/// How long a broker of this process that was dropped, not shut down, may take to let go of its folder.
const LET_GO: Duration = Duration::from_secs(5);

/// Held while a broker starts or stops, so that a folder is never opened while it is being closed.
static BROKERS: LazyLock<Mutex<HashMap<PathBuf, Weak<EmbeddedBroker>>>> =
    LazyLock::new(Mutex::default);

/// A share in a broker.
#[derive(Debug)]
pub(super) struct Share(Arc<EmbeddedBroker>);

impl Share {
    /// Takes a share in the broker on the folder, which is started if it does not run. One in memory is never
    /// shared.
    pub(super) async fn take(config: &EmbeddedConfig) -> Result<Self, TransportError> {
        if !config.persistent {
            return Ok(Self(Arc::new(start(config, None).await?)));
        }
        let mut brokers = BROKERS.lock().await;
        let folder = folder(&config.data_dir)?;
        let known = brokers.get(&folder).map(Weak::upgrade);
        if let Some(Some(broker)) = known {
            let port = broker.address().port();
            if config.tcp_port != 0 && config.tcp_port != port {
                return Err(TransportError::Config(format!(
                    "the broker on `{}` already listens on port {port}, not {}",
                    folder.display(),
                    config.tcp_port
                )));
            }
            return Ok(Self(broker));
        }
        let was_ours = known.is_some();
        let broker = Arc::new(start_when_free(config, &folder, was_ours).await?);
        brokers.retain(|_, broker| broker.strong_count() > 0);
        brokers.insert(folder, Arc::downgrade(&broker));
        Ok(Self(broker))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Gives the share back. With the last one the broker stops.
    pub(super) async fn give_back(self) {
        let _no_start_meanwhile = BROKERS.lock().await;
        if let Some(broker) = Arc::into_inner(self.0) {
            broker.shutdown().await;
        }
    }
}

fn folder(data_dir: &str) -> Result<PathBuf, TransportError> {
    let made = std::fs::create_dir_all(data_dir).and_then(|()| Path::new(data_dir).canonicalize());
    made.map_err(|error| {
        TransportError::Config(format!("the folder `{data_dir}` cannot be used: {error}"))
    })
}

/// A broker of this process that was just dropped may still hold the folder for a moment.
async fn start_when_free(
    config: &EmbeddedConfig,
    folder: &Path,
    was_ours: bool,
) -> Result<EmbeddedBroker, TransportError> {
    let give_up = Instant::now() + LET_GO;
    loop {
        match start(config, Some(folder.to_owned())).await {
            Err(BrokerError::DataDirInUse(_)) if was_ours && Instant::now() < give_up => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            started => return Ok(started?),
        }
    }
}

async fn start(
    config: &EmbeddedConfig,
    data_dir: Option<PathBuf>,
) -> Result<EmbeddedBroker, BrokerError> {
    let sync = match config.sync {
        Sync::Always => SyncPolicy::Always,
        Sync::Interval => SyncPolicy::Interval(Duration::from_secs(1)),
        Sync::Never => SyncPolicy::Never,
    };
    let broker = BrokerConfig {
        data_dir,
        bind: SocketAddr::from((Ipv4Addr::LOCALHOST, config.tcp_port)),
        username: config.username.clone(),
        password: config.password.clone(),
        sync,
        ..BrokerConfig::default()
    };
    EmbeddedBroker::start(broker).await
}

impl From<BrokerError> for TransportError {
    fn from(error: BrokerError) -> Self {
        Self::Config(error.to_string())
    }
}
