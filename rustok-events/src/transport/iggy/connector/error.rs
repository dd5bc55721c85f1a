//! Why a connector did not do what it was asked.

use crate::{
    iggy::IggyMode,
    transport::{TopicName, TransportError},
};

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
