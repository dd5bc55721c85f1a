//! How consumers work.

use std::time::Duration;

use crate::{Clock, Codec, fault::Faults, transport::StartFrom};

/// How consumers work.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsumerConfig {
    /// The most events handled in one transaction.
    pub batch_size: usize,
    /// How long a stop waits for what is being handled.
    pub drain_timeout: Duration,
    /// The shortest pause after the database or the broker failed.
    pub min_backoff: Duration,
    /// The longest pause after the database or the broker failed.
    pub max_backoff: Duration,
    /// Where a new group begins.
    pub start_from: StartFrom,
    /// How the follow-up events of handlers are encoded.
    pub codec: Codec,
    /// The clock.
    pub clock: Clock,
    pub(crate) faults: Faults,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            batch_size: 256,
            drain_timeout: Duration::from_secs(10),
            min_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(5),
            start_from: StartFrom::Beginning,
            codec: Codec::Json,
            clock: Clock::system(),
            faults: Faults::default(),
        }
    }
}

#[cfg(feature = "testing")]
impl ConsumerConfig {
    /// Sets what goes wrong.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }
}
