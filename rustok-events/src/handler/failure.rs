//! Why a handler did not handle an event, as records, metrics and middleware see it.

use std::fmt;

use super::HandlerError;
use crate::{
    DecodeError,
    envelope::EnvelopeError,
    trouble::{self, Trouble},
};

/// Why a handler did not handle an event.
#[derive(Debug, Clone)]
pub struct Failure {
    pub(crate) code: &'static str,
    pub(crate) error: String,
    pub(crate) class: FailureClass,
}

/// How a failure is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureClass {
    /// A later attempt may succeed; `Some` if a database is part of it.
    Retryable(Option<Trouble>),
    /// No attempt can succeed.
    Terminal,
    /// The bytes are no such event.
    Undecodable,
    /// The event is newer than this program, or older than it remembers.
    UnknownVersion,
    /// No handler of the group has an event of this name.
    UnknownEvent,
}

impl Failure {
    /// A failure of a middleware's own, met like a handler's: it is tried again.
    pub fn retryable(code: &'static str, error: impl fmt::Display) -> Self {
        Self { code, error: error.to_string(), class: FailureClass::Retryable(None) }
    }

    /// A failure of a middleware's own that no attempt can mend: the event becomes a dead letter.
    pub fn terminal(code: &'static str, error: impl fmt::Display) -> Self {
        Self { code, error: error.to_string(), class: FailureClass::Terminal }
    }

    /// A short, stable code: `handler_error`, `handler_panic`, `handler_timeout`, `ignored_error` (of the database, by
    /// which it gave the transaction up), `commit_refused`, or one that names what could not be read.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Whether another attempt is pointless.
    pub fn is_terminal(&self) -> bool {
        !matches!(self.class, FailureClass::Retryable(_))
    }

    /// The database's part in it, if it has one.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        match self.class {
            FailureClass::Retryable(trouble) => trouble,
            _ => None,
        }
    }

    /// A failure that a database is part of.
    pub(crate) fn of_database(code: &'static str, error: String, trouble: Trouble) -> Self {
        Self { code, error, class: FailureClass::Retryable(Some(trouble)) }
    }

    pub(crate) fn unreadable(code: &'static str, error: impl fmt::Display) -> Self {
        Self { code, error: error.to_string(), class: FailureClass::Undecodable }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for Failure {}

impl From<HandlerError> for Failure {
    fn from(error: HandlerError) -> Self {
        let class = if error.is_terminal() {
            FailureClass::Terminal
        } else {
            FailureClass::Retryable(trouble::in_chain(error.source()))
        };
        if class == FailureClass::Retryable(Some(Trouble::NoConnection)) {
            // A handler that waits for a connection while its own transaction holds the last one waits for itself.
            let error = format!(
                "the pool had no connection to give; a handler that writes through `ctx.tx()` needs none besides its \
                 transaction's: {error}"
            );
            return Self { code: "no_connection", error, class };
        }
        Self { code: "handler_error", error: error.to_string(), class }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        let class = match &error {
            DecodeError::UnknownVersion { .. } => FailureClass::UnknownVersion,
            DecodeError::UnknownName { .. } => FailureClass::UnknownEvent,
            _ => FailureClass::Undecodable,
        };
        Self { code: error.code(), error: error.to_string(), class }
    }
}

impl From<EnvelopeError> for Failure {
    fn from(error: EnvelopeError) -> Self {
        Self::unreadable(error.code(), error)
    }
}
