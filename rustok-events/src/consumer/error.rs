//! Why consumers could not be built, or stopped.

use std::time::Duration;

use sea_orm::DbErr;

use crate::{
    BoxError, CatalogError,
    migration::SchemaError,
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
    /// Two events do not fit together.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A group that handles several events of a topic neither handles nor ignores others of it.
    #[error(
        "group `{group}` neither handles nor ignores {}: add a handler for each, or leave them out on purpose \
         with `.ignore(\"{group}\", &[{}])`",
        listed(events, '`'),
        listed(events, '"')
    )]
    Unhandled {
        /// The group.
        group: &'static str,
        /// The events' names on the wire.
        events: Vec<&'static str>,
    },
    /// A group ignores what it never had to handle.
    #[error(
        "`.ignore(\"{group}\", …)` names `{event}`, but no known event of that name lies in a topic that group \
         `{group}` handles"
    )]
    NothingToIgnore {
        /// The group.
        group: &'static str,
        /// The event's name.
        event: &'static str,
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
            Self::Catalog(error) => error.code(),
            Self::Unhandled { .. } => "unhandled_events",
            Self::NothingToIgnore { .. } => "nothing_to_ignore",
            Self::NoTransport => "no_transport",
        }
    }
}

/// Names between quotes, separated by commas.
fn listed(names: &[&str], quote: char) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("{quote}{name}{quote}")).collect();
    quoted.join(", ")
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
    /// The tables do not fit this program.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A topic keeps its messages for longer than the inbox remembers them: what is delivered again after that would
    /// be handled again.
    #[error(
        "topic `{topic}` keeps its messages for {kept:?}, but the inbox remembers them for {window:?} only: set \
         `inbox_retention` to {kept:?} or more, or let the topic keep less"
    )]
    WindowTooShort {
        /// The topic.
        topic: TopicName,
        /// How long it keeps its messages.
        kept: Duration,
        /// How long the inbox remembers an event.
        window: Duration,
    },
    /// A message cannot be read and the configuration wants the consumer to stop, or it failed in a replay past the
    /// inbox. Nothing of it is acknowledged.
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
    /// A replay was asked for a group that has no handler on the topic here.
    #[error(
        "no handler of group `{group}` here reads `{topic}`: add it to this runtime, or name its group and topic"
    )]
    NoHandler {
        /// The group.
        group: String,
        /// The topic.
        topic: TopicName,
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
            Self::Schema(error) => error.code(),
            Self::WindowTooShort { .. } => "inbox_window_too_short",
            Self::Unreadable { code, .. } => code,
            Self::NoHandler { .. } => "no_handler",
            Self::Crashed(_) => "crashed",
        }
    }
}
