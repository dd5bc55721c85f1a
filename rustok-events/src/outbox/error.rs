//! Why an event was not published, or a transaction not committed.

use sea_orm::DbErr;

use super::store::Unsupported;
use crate::{BoxError, EventId};

/// Why an event was refused or could not be written.
///
/// A refusal (everything but [`Database`](Self::Database)) happens before anything is written: the transaction
/// stays usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The event's own validator refused it.
    #[error("`{name}` was refused by its validator: {source}")]
    Invalid {
        /// The event type.
        name: &'static str,
        /// What the validator said.
        source: BoxError,
    },
    /// The tenant is nil, and the event is not a platform event.
    #[error("`{name}` needs a tenant: pass its id, or declare the event with `scope = platform`")]
    NilTenant {
        /// The event type.
        name: &'static str,
    },
    /// The partition key is empty or longer than 255 bytes.
    #[error("the partition key of `{name}` has {bytes} bytes: a key has 1 to 255")]
    KeyLength {
        /// The event type.
        name: &'static str,
        /// The key's length.
        bytes: usize,
    },
    /// A header is out of bounds or has a reserved name.
    #[error("header `{header}`: {reason}")]
    Header {
        /// The header's name.
        header: String,
        /// What is wrong with it, and what is right.
        reason: &'static str,
    },
    /// The payload is larger than the broker takes.
    #[error("the payload of `{name}` has {bytes} bytes: the broker takes at most {limit}")]
    TooLarge {
        /// The event type.
        name: &'static str,
        /// The encoded size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The payload cannot be encoded.
    #[error("`{name}` cannot be encoded: {source}")]
    Encode {
        /// The event type.
        name: &'static str,
        /// What the codec said.
        source: BoxError,
    },
    /// Another event was already published under the given id.
    #[error("another event was already published under the id {id}: an id is for one event")]
    Conflict {
        /// The id.
        id: EventId,
    },
    /// The database has no outbox of this crate.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The database refused the write. Whether the transaction is still usable is the database's to say: on
    /// PostgreSQL it is not.
    #[error(
        "the outbox could not be written: {0} (do the tables exist? `Migrator::up(&db, None)` creates them)"
    )]
    Database(#[from] DbErr),
}

impl PublishError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid_event",
            Self::NilTenant { .. } => "nil_tenant",
            Self::KeyLength { .. } => "key_length",
            Self::Header { .. } => "bad_header",
            Self::TooLarge { .. } => "too_large",
            Self::Encode { .. } => "encode",
            Self::Conflict { .. } => "conflict",
            Self::Unsupported(_) => "unsupported_database",
            Self::Database(_) => "database",
        }
    }

    /// Whether the same call in a new transaction can succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(_))
    }
}

/// Why [`TransactionalEventBus::commit`](super::TransactionalEventBus::commit) did not answer `Ok`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The connection was lost before the answer came: the transaction may be committed or not. Look before you
    /// repeat it; with a write-once id repeating is safe.
    #[error(
        "the connection was lost during commit, so the transaction may or may not be committed: {0}"
    )]
    Ambiguous(#[source] DbErr),
    /// The database refused to commit; nothing of the transaction remains.
    #[error("the database refused to commit: {0}")]
    Refused(#[source] DbErr),
}
