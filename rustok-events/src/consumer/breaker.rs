//! A group's circuit breaker: while the database is away, or refuses everything, the group pauses. Nothing of that
//! counts as an attempt, so an outage makes no dead letters.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sea_orm::DbErr;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ConsumerConfig, halt::Halt};
use crate::{EventId, backoff::Backoff, handler::Failure, trouble::Trouble};

/// Shared by everything that works for one group.
pub(super) struct Breaker {
    group: &'static str,
    threshold: usize,
    state: Mutex<State>,
}

struct State {
    backoff: Backoff,
    /// Nobody tries before.
    open_until: Option<Instant>,
    /// Events that a handler failed with a database error since the last success.
    suspects: HashSet<EventId>,
}

impl Breaker {
    pub(super) fn new(group: &'static str, config: &ConsumerConfig) -> Self {
        let state = State {
            backoff: Backoff::new(config.min_backoff, config.max_backoff),
            open_until: None,
            suspects: HashSet::new(),
        };
        Self { group, threshold: config.breaker_threshold.max(1), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing may be tried just now.
    pub(super) fn is_open(&self) -> bool {
        self.lock().open_until.is_some_and(|until| until > Instant::now())
    }

    /// Waits until something may be tried.
    pub(super) async fn ready(&self, stop: &CancellationToken) -> Result<(), Halt> {
        loop {
            if stop.is_cancelled() {
                return Err(Halt::Stopped);
            }
            let open_until = self.lock().open_until.filter(|until| *until > Instant::now());
            let Some(until) = open_until else { return Ok(()) };
            stop.run_until_cancelled(tokio::time::sleep_until(until)).await;
        }
    }

    /// Something was committed.
    pub(super) fn succeeded(&self) {
        let mut state = self.lock();
        if state.open_until.take().is_some() {
            tracing::info!(group = self.group, "the group goes on");
        }
        state.backoff.reset();
        state.suspects.clear();
    }

    /// The database failed the consumer itself.
    pub(super) fn failed(&self, error: &DbErr) {
        self.open("database_failed", error);
    }

    /// Whether a handler's failure is the database's and not the event's: a database is away, or several different
    /// events in a row failed with its errors. If so, the group pauses.
    pub(super) fn suspects(&self, event: EventId, failure: &Failure) -> bool {
        let Some(trouble) = failure.trouble() else { return false };
        if trouble == Trouble::Away {
            self.open("database_away", failure);
            return true;
        }
        let mut state = self.lock();
        if state.suspects.len() < self.threshold {
            state.suspects.insert(event);
        }
        let suspected = state.suspects.len() >= self.threshold;
        drop(state);
        if suspected {
            self.open("every_event_fails", failure);
        }
        suspected
    }

    fn open(&self, code: &'static str, error: &dyn std::fmt::Display) {
        let mut state = self.lock();
        let now = Instant::now();
        // Several lanes meet one outage: it counts once.
        if state.open_until.is_some_and(|until| until > now) {
            return;
        }
        let pause = state.backoff.next();
        state.open_until = Some(now + pause);
        drop(state);
        tracing::warn!(group = self.group, code, %error, retry_in = ?pause, "the group pauses");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::FailureClass;

    fn failure(trouble: Option<Trouble>) -> Failure {
        Failure {
            code: "handler_error",
            error: String::new(),
            class: FailureClass::Retryable(trouble),
        }
    }

    #[test]
    fn one_bad_event_is_the_event_s_doing_and_many_are_the_database_s() {
        let config = ConsumerConfig { breaker_threshold: 3, ..ConsumerConfig::default() };
        let breaker = Breaker::new("g", &config);
        let refused = failure(Some(Trouble::Refused));
        let one = EventId::new();
        for _ in 0..10 {
            assert!(!breaker.suspects(one, &refused));
        }
        assert!(!breaker.suspects(EventId::new(), &failure(None)), "no database in it");
        assert!(!breaker.suspects(EventId::new(), &refused));
        assert!(breaker.suspects(EventId::new(), &refused));
        assert!(breaker.suspects(one, &refused));
        breaker.succeeded();
        assert!(!breaker.suspects(one, &refused));
    }
}
