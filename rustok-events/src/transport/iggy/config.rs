//! What the transport is told: the mode, where the broker is, who logs in, what topics are like.
//!
//! Plain structs with defaults, loadable with serde from TOML, YAML or JSON; an unknown key is an error that
//! names it. Durations are written with a unit: `250ms`, `10s`, `30d`.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::duration;
/// How payloads are encoded: JSON or MessagePack.
pub use crate::Codec as Serialization;

/// Where the broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IggyMode {
    /// In this process, on loopback.
    #[default]
    Embedded,
    /// A server, or several.
    Remote,
}

/// Everything the transport is told. The default is an embedded broker that keeps its data in `./data/iggy`.
///
/// ```
/// use rustok_events::iggy::{IggyConfig, IggyMode};
///
/// let config: IggyConfig = serde_json::from_str(
///     r#"{ "mode": "remote", "remote": { "addresses": ["10.0.0.7:8090"] }, "connection": { "send_timeout": "5s" } }"#,
/// )?;
/// assert_eq!(config.mode, IggyMode::Remote);
/// assert_eq!(config.topology.domain_partitions, 8);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IggyConfig {
    /// Where the broker runs.
    pub mode: IggyMode,
    /// How payloads are encoded.
    pub serialization: Serialization,
    /// The embedded broker.
    pub embedded: EmbeddedConfig,
    /// The server.
    pub remote: RemoteConfig,
    /// What a topic is like that its events say nothing of.
    pub topology: Topology,
    /// How long topics keep messages.
    pub retention: Retention,
    /// How connections behave, in both modes.
    pub connection: ConnectionConfig,
}

/// The broker in this process. The password never appears in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedConfig {
    /// Where the data lies. Transports of one process share the broker on a folder; another process is refused.
    pub data_dir: String,
    /// The loopback port it listens on; 0 takes a free one.
    pub tcp_port: u16,
    /// Whether data outlives the process. `false` keeps it in memory, apart from every other transport's.
    pub persistent: bool,
    /// When acknowledged messages are on the disk.
    pub sync: Sync,
    /// Who may log in.
    pub username: String,
    /// The user's password.
    pub password: String,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            data_dir: "./data/iggy".to_owned(),
            tcp_port: 0,
            persistent: true,
            sync: Sync::Always,
            username: "iggy".to_owned(),
            password: "iggy".to_owned(),
        }
    }
}

impl fmt::Debug for EmbeddedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedConfig")
            .field("data_dir", &self.data_dir)
            .field("tcp_port", &self.tcp_port)
            .field("persistent", &self.persistent)
            .field("sync", &self.sync)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// When an embedded broker's acknowledged messages are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// Before the acknowledgement: they survive a power cut.
    #[default]
    Always,
    /// Within a second after it: a power cut may take that much, a killed process nothing.
    Interval,
    /// When the operating system likes: a power cut may take any of the tail, a killed process nothing.
    Never,
}

/// The server. The password and the token never appear in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteConfig {
    /// Its addresses, `host:port`, tried in turn.
    pub addresses: Vec<String>,
    /// The protocol; `tcp` is the one there is.
    pub protocol: String,
    /// Who logs in.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// Logs in with this token instead of user and password.
    pub personal_access_token: Option<String>,
    /// Whether the connection is encrypted.
    pub tls_enabled: bool,
    /// The name the server's certificate must have; the host of the address if absent.
    pub tls_server_name: Option<String>,
    /// A PEM file with the authorities that may sign the certificate; the public ones if absent.
    pub tls_ca_file: Option<String>,
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self {
            addresses: vec!["127.0.0.1:8090".to_owned()],
            protocol: "tcp".to_owned(),
            username: "iggy".to_owned(),
            password: "iggy".to_owned(),
            personal_access_token: None,
            tls_enabled: false,
            tls_server_name: None,
            tls_ca_file: None,
        }
    }
}

impl fmt::Debug for RemoteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteConfig")
            .field("addresses", &self.addresses)
            .field("protocol", &self.protocol)
            .field("username", &self.username)
            .field("tls_enabled", &self.tls_enabled)
            .field("tls_server_name", &self.tls_server_name)
            .field("tls_ca_file", &self.tls_ca_file)
            .finish_non_exhaustive()
    }
}

/// What a topic is like that its events say nothing of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topology {
    /// The stream of a message that names none. Events always name theirs.
    pub stream_name: String,
    /// The partition count of a topic whose events declare none.
    pub domain_partitions: u32,
    /// On how many servers a topic lies.
    pub replication_factor: u8,
}

impl Default for Topology {
    fn default() -> Self {
        Self { stream_name: "rustok".to_owned(), domain_partitions: 8, replication_factor: 1 }
    }
}

/// How long the topics that this transport creates keep messages. What is absent is left to the broker, which by
/// default keeps everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// The age at which messages may be removed.
    #[serde(with = "duration::optional")]
    pub max_age: Option<Duration>,
    /// The size of a topic, in bytes, at which its oldest messages may be removed. A server refuses less than the
    /// size of its segments.
    pub max_bytes: Option<u64>,
}

/// How connections behave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionConfig {
    /// How long connecting and logging in may take, for each address.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long any request but a publish may take.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How long a publish may take, a reconnection on the way included, and how long it waits for a free connection
    /// before. One that runs out may still be applied.
    #[serde(with = "duration")]
    pub send_timeout: Duration,
    /// How often an idle connection is checked; a consumer's every third time.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
    /// The shortest pause between two attempts to reconnect; it doubles, with jitter.
    #[serde(with = "duration")]
    pub reconnect_min: Duration,
    /// The longest pause between two attempts to reconnect.
    #[serde(with = "duration")]
    pub reconnect_max: Duration,
    /// How many connections publish side by side. A connection has one request in flight.
    pub publishers: usize,
    /// How long messages of another process may lie at an idle topic before its consumers look. A publish in this
    /// process is seen at once.
    #[serde(with = "duration")]
    pub max_idle_poll: Duration,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(1),
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(5),
            publishers: 2,
            max_idle_poll: Duration::from_millis(100),
        }
    }
}
