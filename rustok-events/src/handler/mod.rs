//! Typed handlers: the trait behind `#[event_handler]`, what a handler is given, and what it may answer.

mod context;
mod erased;
mod failure;
mod input;
mod place;
mod result;

use std::{future::Future, time::Duration};

#[doc(hidden)]
pub use self::place::{Anywhere, FreeFunction, InModule, Place};
pub use self::{
    context::{
        Detached, DetachedContext, Given, HandlerContext, HandlerMode, Transactional, given,
    },
    failure::Failure,
    input::{Batch, HandlerInput},
    result::{Answer, HandlerError, HandlerResult, Terminal, answer},
};
pub use self::{erased::Invocation, input::Delivered};
pub(crate) use self::{
    erased::{Erased, ErasedHandler, HandlerSpec},
    failure::FailureClass,
};

/// A function that handles events of one type for one consumer group. Write it with `#[event_handler]`.
///
/// `S` is the application's state. The inbox is keyed by ([`GROUP`](Self::GROUP), [`NAME`](Self::NAME), event id):
/// a renamed handler is a new reader.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle events for a runtime whose state is `{S}`",
    label = "not an event handler for this state",
    note = "put `#[event_handler(group = \"…\")]` on a free `async fn(ctx: &mut HandlerContext<'_, {S}>, event: E) -> HandlerResult`",
    note = "`.state(…)` comes before `.handler(…)`, and its type is the one the handler's context names"
)]
pub trait EventHandler<S>: Send + Sync + 'static {
    /// The consumer group.
    const GROUP: &'static str;
    /// The durable name the inbox is keyed by.
    const NAME: &'static str;
    /// How failures are met.
    const OPTIONS: HandlerOptions = HandlerOptions::new();

    /// What the handler takes: `E`, `Envelope<E>` or `Batch<E>`.
    type Input: HandlerInput;
    /// Whether it runs inside the inbox transaction.
    type Mode: HandlerMode;

    /// Handles one delivery.
    fn handle(
        &self,
        ctx: &mut HandlerContext<'_, S, Self::Mode>,
        input: Self::Input,
    ) -> impl Future<Output = HandlerResult> + Send;
}

/// How a handler's failures are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerOptions {
    /// How often, and how long apart.
    pub retry: RetryPolicy,
    /// What becomes of the key after a dead letter.
    pub on_dead_letter: OnDeadLetter,
}

impl HandlerOptions {
    /// The defaults: five attempts from 100 ms to 30 s apart; a dead letter parks its key.
    pub const fn new() -> Self {
        Self { retry: RetryPolicy::new(), on_dead_letter: OnDeadLetter::Park }
    }

    /// Sets the retry policy.
    #[must_use]
    pub const fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Sets what becomes of the key after a dead letter.
    #[must_use]
    pub const fn on_dead_letter(mut self, on_dead_letter: OnDeadLetter) -> Self {
        self.on_dead_letter = on_dead_letter;
        self
    }
}

impl Default for HandlerOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Exponential back-off with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many times the handler is called before the event becomes a dead letter, at least 1.
    pub attempts: u32,
    /// The pause after the first failure.
    pub min: Duration,
    /// The longest pause.
    pub max: Duration,
}

impl RetryPolicy {
    /// Five attempts, from 100 ms to 30 s apart.
    pub const fn new() -> Self {
        Self { attempts: 5, min: Duration::from_millis(100), max: Duration::from_secs(30) }
    }

    /// Sets how many times the handler is called, at least 1.
    ///
    /// # Panics
    /// If `attempts` is 0; in a constant that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        assert!(attempts > 0, "`attempts` is 0: a handler is called at least once");
        self.attempts = attempts;
        self
    }

    /// Sets the pause after the first failure.
    ///
    /// # Panics
    /// If it is longer than the longest pause; in a constant that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn min(mut self, min: Duration) -> Self {
        self.min = min;
        self.checked()
    }

    /// Sets the longest pause.
    ///
    /// # Panics
    /// If it is shorter than the pause after the first failure; in a constant that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self.checked()
    }

    /// Sets both pauses.
    ///
    /// # Panics
    /// If `min` is longer than `max`; in a constant that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn between(mut self, min: Duration, max: Duration) -> Self {
        self.min = min;
        self.max = max;
        self.checked()
    }

    #[track_caller]
    const fn checked(self) -> Self {
        assert!(
            self.min.as_nanos() <= self.max.as_nanos(),
            "`min` is longer than `max`: give both (the defaults are 100 ms and 30 s)"
        );
        self
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// What becomes of a key's later events once one of them is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnDeadLetter {
    /// They wait in order until an operator retries or discards the dead letter.
    #[default]
    Park,
    /// They go on.
    Continue,
}
