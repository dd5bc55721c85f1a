//! Why work ended before it had a result, and why a transaction did not commit.

use std::fmt;

use sea_orm::DbErr;

use super::ConsumerError;
use crate::{handler::Failure, sql, trouble::Trouble};

/// Why work ended before it had a result.
pub(super) enum Halt {
    /// The runtime stops.
    Stopped,
    /// Waiting cannot mend it.
    Failed(ConsumerError),
}

/// Why a transaction did not commit.
pub(super) enum Failed {
    /// A handler's doing.
    Handler(Failure),
    /// The database's: not an attempt.
    Database(DbErr),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handler(failure) => failure.fmt(f),
            Self::Database(error) => error.fmt(f),
        }
    }
}

impl From<DbErr> for Failed {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

impl Failed {
    /// Whether two transactions were in each other's way, or one began at another isolation level than it needs: not an
    /// attempt, and the same again succeeds.
    pub(super) fn is_conflict(&self) -> bool {
        let trouble = match self {
            Self::Handler(failure) => failure.trouble(),
            Self::Database(_) if self.is_other_isolation() => return true,
            Self::Database(error) => Some(crate::trouble::of(error)),
        };
        trouble == Some(Trouble::Conflict)
    }

    /// Whether the transaction began at another isolation level than READ COMMITTED, and was to set none.
    pub(super) fn is_other_isolation(&self) -> bool {
        matches!(self, Self::Database(error) if sql::is_other_isolation(error))
    }
}
