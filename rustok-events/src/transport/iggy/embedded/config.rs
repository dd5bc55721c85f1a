//! What the embedded broker is told at its start.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use super::{BrokerError, broker::BUDGET};

/// When an acknowledged write is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// Before the answer: what was acknowledged survives a power cut. Concurrent senders share one sync.
    #[default]
    Always,
    /// Within the interval after the answer: a power cut may take that much of the tail, a killed process nothing.
    Interval(Duration),
    /// When the operating system likes: a power cut may take any of the tail, a killed process nothing.
    Never,
}

/// How a group's partitions move when members come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Rebalance {
    /// Evenly and at once.
    #[default]
    Immediate,
    /// As real servers up to 0.8.0 do it, for tests: a joiner gets one partition, and a partition with work that
    /// was polled but not stored changes hands only when its offset is stored or the wait is over. From then on
    /// the old owner's stores are refused.
    Cooperative {
        /// How long a partition with unstored work waits for its owner.
        handover: Duration,
    },
}

/// What a topic keeps whose creator asked for the server's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// How long messages are kept; `None` keeps them for ever.
    pub max_age: Option<Duration>,
    /// How many bytes a topic holds before its oldest messages go; `None` sets no bound.
    pub max_bytes: Option<u64>,
}

/// How the embedded broker runs.
///
/// ```
/// use rustok_events::iggy::embedded::{BrokerConfig, SyncPolicy};
///
/// let mut config = BrokerConfig::at("./data/iggy");
/// config.sync = SyncPolicy::Always;
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct BrokerConfig {
    /// Where the data lies; `None` keeps it in memory. The folder is made if it is missing, and belongs to one
    /// broker at a time.
    pub data_dir: Option<PathBuf>,
    /// Where the broker listens. Port 0, the default, takes a free one; the default address is loopback.
    pub bind: SocketAddr,
    /// The one user's name.
    pub username: String,
    /// The one user's password. Never printed.
    pub password: String,
    /// When acknowledged writes are on the disk. Without meaning in memory.
    pub sync: SyncPolicy,
    /// What topics keep that were created with the server's default.
    pub default_retention: Retention,
    /// How often messages past their topic's retention are removed.
    pub retention_sweep: Duration,
    /// How many connections are served at once; further ones are closed as they come.
    pub max_connections: usize,
    /// How long a connection that is logged in may be silent.
    pub idle_timeout: Duration,
    /// How long a connection may stay without a log-in.
    pub login_timeout: Duration,
    /// How long the rest of a frame that has begun, or the taking of an answer, may lag.
    pub io_timeout: Duration,
    /// The largest frame that is read, in bytes; a longer one ends the connection before anything is allocated.
    pub max_frame: u32,
    /// About how many bytes of messages one poll answers with. A single larger message is still handed out.
    pub max_poll: usize,
    /// How partitions move within a group.
    pub rebalance: Rebalance,
}

impl BrokerConfig {
    /// A broker that keeps everything in memory and forgets it at its end.
    pub fn in_memory() -> Self {
        Self {
            data_dir: None,
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            username: "iggy".to_owned(),
            password: "iggy".to_owned(),
            sync: SyncPolicy::default(),
            default_retention: Retention::default(),
            retention_sweep: Duration::from_secs(30),
            max_connections: 1024,
            idle_timeout: Duration::from_mins(5),
            login_timeout: Duration::from_secs(5),
            io_timeout: Duration::from_secs(30),
            max_frame: 72 * 1024 * 1024,
            max_poll: 16 * 1024 * 1024,
            rebalance: Rebalance::default(),
        }
    }

    /// A broker that keeps its data in the folder.
    pub fn at(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: Some(data_dir.into()), ..Self::in_memory() }
    }
}

impl BrokerConfig {
    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<(), BrokerError> {
        let refuse = |what: &str| Err(BrokerError::Config(what.to_owned()));
        if self.username.is_empty() || self.username.len() > 255 {
            return refuse("`username` takes 1 to 255 bytes");
        }
        if self.password.is_empty() || self.password.len() > 255 {
            return refuse("`password` takes 1 to 255 bytes");
        }
        if !(4096..=BUDGET).contains(&(self.max_frame as usize)) {
            return refuse("`max_frame` takes 4 KiB to 256 MiB");
        }
        if !(1..=BUDGET).contains(&self.max_poll) {
            return refuse("`max_poll` takes 1 byte to 256 MiB");
        }
        if self.max_connections == 0 {
            return refuse("`max_connections` must be at least 1");
        }
        Ok(())
    }
}

impl Default for BrokerConfig {
    /// [In memory](Self::in_memory).
    fn default() -> Self {
        Self::in_memory()
    }
}

impl fmt::Debug for BrokerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerConfig")
            .field("data_dir", &self.data_dir)
            .field("bind", &self.bind)
            .field("username", &self.username)
            .field("sync", &self.sync)
            .field("default_retention", &self.default_retention)
            .field("retention_sweep", &self.retention_sweep)
            .field("max_connections", &self.max_connections)
            .field("idle_timeout", &self.idle_timeout)
            .field("login_timeout", &self.login_timeout)
            .field("io_timeout", &self.io_timeout)
            .field("max_frame", &self.max_frame)
            .field("max_poll", &self.max_poll)
            .field("rebalance", &self.rebalance)
            .finish_non_exhaustive()
    }
}
