//! Why a relay stopped or a step failed.

use sea_orm::DbErr;

use crate::{
    migration::SchemaError,
    outbox::{ClusterTrouble, Unsupported},
    transport::TransportError,
};

/// Why a relay stopped, or why [`Relay::drain`](super::Relay::drain) gave up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The outbox could not be read or its cursor not be moved.
    #[error(
        "the outbox cannot be used: {0} (do the tables exist? `Migrator::up(&db, None)` creates them)"
    )]
    Database(#[from] DbErr),
    /// The database has no outbox.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The tables do not fit this program.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The cursors do not belong to this cluster.
    #[error("{0}")]
    Cluster(ClusterTrouble),
    /// The broker did not take the events.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A part of the relay panicked.
    #[error("a part of the relay crashed: {0}")]
    Crashed(#[source] crate::BoxError),
}

impl RelayError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Database(_) => "database",
            Self::Unsupported(_) => "unsupported_database",
            Self::Schema(error) => error.code(),
            Self::Cluster(trouble) => trouble.code(),
            Self::Transport(error) => error.code(),
            Self::Crashed(_) => "crashed",
        }
    }

    /// Whether waiting may mend it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Database(error) => !crate::sql::is_missing_table(error),
            Self::Unsupported(_) | Self::Cluster(_) | Self::Crashed(_) => false,
            Self::Schema(error) => error.is_retryable(),
            Self::Transport(error) => error.mends_with_provisioning(),
        }
    }
}
