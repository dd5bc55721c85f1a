//! Growing pauses with jitter, so that many waiting parties do not return at once.

use std::{
    fmt,
    future::Future,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Pauses that double from `min` to `max`, each shortened by up to a half at random.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next.min(self.max);
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(0.5 + random_fraction() / 2.0)
    }

    /// Starts again from the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

/// The pause after the `nth` failure in a row, counted from 1: for parties that keep a number and not a [`Backoff`].
pub(crate) fn pause(min: Duration, max: Duration, nth: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(nth.saturating_sub(1).min(31));
    let mut backoff = Backoff::new(min, max);
    backoff.next = min.saturating_mul(doubled);
    backoff.next()
}

/// An error that says whether waiting can mend it.
pub(crate) trait Retryable: fmt::Display {
    /// A short, stable code for records.
    fn code(&self) -> &'static str;
    /// Whether waiting may mend it.
    fn is_retryable(&self) -> bool;
}

macro_rules! retryable {
    ($($error:ty),*) => {$(
        impl Retryable for $error {
            fn code(&self) -> &'static str {
                self.code()
            }

            fn is_retryable(&self) -> bool {
                self.is_retryable()
            }
        }
    )*};
}

retryable!(crate::RelayError, crate::TransportError, crate::migration::SchemaError);

/// Does it until it succeeds or fails in a way that waiting cannot mend. Pauses in real time whatever the clock: what
/// failed is a server, not an appointment. `trouble` says in the log what could not be done.
///
/// Cancellation-safe if the work is.
pub(crate) async fn retry<T, E: Retryable, F: Future<Output = Result<T, E>>>(
    mut backoff: Backoff,
    trouble: &'static str,
    mut work: impl FnMut() -> F,
) -> Result<T, E> {
    loop {
        match work().await {
            Err(error) if error.is_retryable() => {
                let pause = backoff.next();
                tracing::warn!(code = error.code(), %error, retry_in = ?pause, "{trouble}");
                tokio::time::sleep(pause).await;
            }
            done => return done,
        }
    }
}

/// A number in 0..1. The standard library's hash keys are random, which is all the randomness jitter needs.
#[allow(clippy::cast_precision_loss, reason = "jitter needs no precision")]
fn random_fraction() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_again() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(35));
        let mut backoff = Backoff::new(min, max);
        for expected in [10, 20, 35, 35] {
            let pause = backoff.next();
            let expected = Duration::from_millis(expected);
            assert!(pause >= expected / 2 && pause <= expected, "{pause:?} for {expected:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= min);
    }
}
