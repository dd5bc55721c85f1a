//! Why a test could not go on.

use sea_orm::{ConnAcquireErr, DbErr};

use crate::{
    DecodeError, PublishError, RuntimeError, TransportError, consumer::BuildError,
    dead_letter::DeadLetterError, outbox::CommitError,
};

/// Why the test kit could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// The kit waited for a connection in vain. The database in memory has exactly one, so this is a transaction that
    /// the test or a handler still has open while it asks the pool for another connection.
    #[error(
        "the database in memory has one connection, and it is in use: commit or drop the test's transaction first, \
         and in a handler write through `ctx.tx()`; or run the test on another database with `.database(url)`"
    )]
    OneConnection,
    /// The database's.
    #[error("the database failed: {0}")]
    Database(#[source] DbErr),
    /// The broker's.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// What was declared does not fit together.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An event was refused.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A transaction was refused.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The dead letters'.
    #[error(transparent)]
    DeadLetter(#[from] DeadLetterError),
    /// A published event does not decode as the type that was asked for.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The runtime under test stopped by itself.
    #[error("the runtime stopped: {0}")]
    Stopped(#[source] RuntimeError),
    /// The runtime under test was stopped before.
    #[error("the app was stopped")]
    AlreadyStopped,
    /// Something was still under way when the time ran out.
    #[error("still in flight after {waited:?}: {in_flight}")]
    NotSettled {
        /// How long the kit waited.
        waited: std::time::Duration,
        /// What was under way.
        in_flight: String,
    },
    /// There is no such handler in the app.
    #[error("group `{group}` has no handler `{handler}`; the app has {known}")]
    UnknownHandler {
        /// The group asked for.
        group: String,
        /// The handler asked for.
        handler: String,
        /// What there is.
        known: String,
    },
    /// The handler takes another event.
    #[error("handler `{handler}` has no event named `{event}`")]
    WrongEvent {
        /// The handler.
        handler: &'static str,
        /// The event.
        event: String,
    },
    /// What was given was not handled.
    #[error("the handler refused what was given: {0}")]
    Given(#[source] crate::handler::Failure),
}

impl From<DbErr> for TestError {
    fn from(error: DbErr) -> Self {
        if matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)) {
            Self::OneConnection
        } else {
            Self::Database(error)
        }
    }
}

impl TestError {
    /// A short, stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OneConnection => "one_connection",
            Self::Database(_) => "database",
            Self::Transport(error) => error.code(),
            Self::Build(error) => error.code(),
            Self::Publish(error) => error.code(),
            Self::Commit(_) => "commit",
            Self::DeadLetter(error) => error.code(),
            Self::Decode(error) => error.code(),
            Self::Stopped(error) => error.code(),
            Self::AlreadyStopped => "already_stopped",
            Self::NotSettled { .. } => "not_settled",
            Self::UnknownHandler { .. } => "unknown_handler",
            Self::WrongEvent { .. } => "wrong_event",
            Self::Given(failure) => failure.code(),
        }
    }
}
