//! Why consumers could not be built, or stopped.

use sea_orm::DbErr;

use crate::{
    BoxError,
    transport::{TopicName, TransportError},
};

/// Why a runtime could not be built: what was declared does not fit together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// Two handlers of one group have one name, and the inbox could not tell them apart.
    #[error(
        "group `{group}` has two handlers named `{handler}`: give one of them another with \
         `#[event_handler(name = \"…\")]`"
    )]
    DuplicateHandler {
        /// The group.
        group: &'static str,
        /// The name.
        handler: &'static str,
    },
    /// Two events of one topic declare different partition counts.
    #[error(
        "topic `{topic}` is declared with {first_count} partitions by `{first}` and with {second_count} by \
         `{second}`: make them agree"
    )]
    PartitionMismatch {
        /// The topic.
        topic: TopicName,
        /// An event.
        first: &'static str,
        /// Its count.
        first_count: u32,
        /// Another event.
        second: &'static str,
        /// Its count.
        second_count: u32,
    },
    /// No transport was given.
    #[error("no transport: call `.transport(…)` before `.build()` or `.run_until(…)`")]
    NoTransport,
}

impl BuildError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::DuplicateHandler { .. } => "duplicate_handler",
            Self::PartitionMismatch { .. } => "partition_mismatch",
            Self::NoTransport => "no_transport",
        }
    }
}

/// Why consumers stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// The broker refuses something for good.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The database refuses something for good.
    #[error(
        "the inbox cannot be used: {0} (do the tables exist? `Migrator::up(&db, None)` creates them)"
    )]
    Database(#[from] DbErr),
    /// A message cannot be read, and the configuration wants the consumer to stop. Nothing of it is acknowledged.
    #[error(
        "message {offset} on partition {partition} of `{topic}` cannot be handled by group `{group}`: {error}"
    )]
    Unreadable {
        /// Why, as a short and stable code.
        code: &'static str,
        /// The group.
        group: &'static str,
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: u32,
        /// Its place on the partition.
        offset: u64,
        /// Why.
        error: String,
    },
    /// A consumer ended in a way it never should.
    #[error("a consumer crashed: {0}")]
    Crashed(#[source] BoxError),
}

impl ConsumerError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Transport(error) => error.code(),
            Self::Database(_) => "database",
            Self::Unreadable { code, .. } => code,
            Self::Crashed(_) => "crashed",
        }
    }
}
