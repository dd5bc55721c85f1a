//! What a handler answers: done, try again, or never again.

use std::fmt;

use crate::BoxError;

/// What a handler returns. Anything that is `Into<Box<dyn Error + Send + Sync>>` goes through `?` and is retried.
pub type HandlerResult = Result<(), HandlerError>;

/// Why a handler did not handle an event.
///
/// Not an [`std::error::Error`] itself, so that `?` can take every error there is.
pub struct HandlerError {
    source: BoxError,
    terminal: bool,
}

impl HandlerError {
    /// An error that a later attempt may not meet.
    pub fn retryable(source: impl Into<BoxError>) -> Self {
        Self { source: source.into(), terminal: false }
    }

    /// An error that every attempt will meet: the event becomes a dead letter at once.
    pub fn terminal(source: impl Into<BoxError>) -> Self {
        Self { source: source.into(), terminal: true }
    }

    /// Whether another attempt is pointless.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The cause.
    pub fn source(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.source
    }
}

impl<E: Into<BoxError>> From<E> for HandlerError {
    fn from(source: E) -> Self {
        Self::retryable(source)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("terminal", &self.terminal)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// `.terminal()` on a `Result`: no retry, a dead letter at once.
pub trait Terminal<T> {
    /// Marks the error as one that no retry can mend.
    fn terminal(self) -> Result<T, HandlerError>;
}

impl<T, E: Into<BoxError>> Terminal<T> for Result<T, E> {
    fn terminal(self) -> Result<T, HandlerError> {
        self.map_err(HandlerError::terminal)
    }
}

/// What a handler's function returns: [`HandlerResult`], as the compiler explains it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a handler returns `HandlerResult`, not `{Self}`",
    label = "not a `HandlerResult`",
    note = "write `-> HandlerResult`: `?` turns any error into one that is retried, `.terminal()?` into one that is not"
)]
pub trait Answer {
    /// The answer.
    fn into_result(self) -> HandlerResult;
}

impl Answer for HandlerResult {
    fn into_result(self) -> HandlerResult {
        self
    }
}

/// What a handler's function returned.
#[doc(hidden)]
pub fn answer<A: Answer>(answer: A) -> HandlerResult {
    answer.into_result()
}
