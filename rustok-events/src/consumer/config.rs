//! How consumers work.

use std::time::Duration;

use crate::{Clock, Codec, fault::Faults, transport::StartFrom};

/// How consumers work. `Default` suits a service.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsumerConfig {
    /// The most events handled in one transaction.
    pub batch_size: usize,
    /// How many members of each group this runtime runs on each topic. Partitions run side by side within one
    /// member already; more members spread the polling over more connections.
    pub concurrency: usize,
    /// How long a stop waits for what is being handled.
    pub drain_timeout: Duration,
    /// The shortest pause after the database or the broker failed.
    pub min_backoff: Duration,
    /// The longest pause after the database or the broker failed.
    pub max_backoff: Duration,
    /// How long one call of a handler may take; then it is dropped, rolled back and counted as a failure with the
    /// code `handler_timeout`. `None`: as long as it likes, and its partition waits.
    pub handler_timeout: Option<Duration>,
    /// How long a failing event may be retried in place, in all, while its partition waits. Then it is held, and
    /// the other keys of the partition go on.
    pub retry_in_place: Duration,
    /// How many held events are tried at a time.
    pub redelivery_concurrency: usize,
    /// How often to look for held events that another process left, or that an operator wants tried again.
    pub redelivery_tick: Duration,
    /// How long a process has a held event to itself beyond [`handler_timeout`](Self::handler_timeout) while it tries
    /// it. Should it die there, another takes the event up after that time.
    pub redelivery_margin: Duration,
    /// What becomes of a message that cannot be read as an event: `malformed_envelope`, `unknown_content_type`,
    /// `malformed_payload`, `invalid_event`.
    pub undecodable: OnUnreadable,
    /// What becomes of an event in a version this program does not know: `unknown_version`. Held by default, so
    /// that in a rolling deploy the old program leaves it to the new one.
    pub unknown_version: OnUnreadable,
    /// What becomes of an event that no handler of the group is for: `unknown_event`. `None`, the default: it is
    /// none of this group's business and passed over without a record.
    pub unknown_event: Option<OnUnreadable>,
    /// How long an event of [`OnUnreadable::Hold`] waits for its next attempt.
    pub hold_for: Duration,
    /// After this many different events in a row that a handler failed with a database error, its group pauses
    /// and counts no attempts until one succeeds.
    pub breaker_threshold: usize,
    /// How long the inbox remembers an event: the window of deduplication. Never shorter than the retention of the
    /// topics. `None`: for ever.
    pub inbox_retention: Option<Duration>,
    /// How long a record is kept of an event that was discarded or passed over. `None`: for ever. Dead letters and held
    /// events are never forgotten.
    pub record_retention: Option<Duration>,
    /// How often to forget what is older than [`inbox_retention`](Self::inbox_retention) and
    /// [`record_retention`](Self::record_retention).
    pub hygiene_tick: Duration,
    /// How often to look at the topics' partition counts. A topic that was made anew with another count stops the
    /// consumers with [`PartitionMismatch`](crate::TransportError::PartitionMismatch).
    pub recount: Duration,
    /// Where a new group begins.
    pub start_from: StartFrom,
    /// How the follow-up events of handlers are encoded.
    pub codec: Codec,
    /// The clock that retries, leases of held events and the inbox's retention follow. Pauses while the database or
    /// the broker is away, and the limits of a call, are real time.
    pub clock: Clock,
    pub(crate) faults: Faults,
}

/// What becomes of a message that a handler cannot be called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnUnreadable {
    /// It becomes a dead letter, and if its key is known the key waits.
    Park,
    /// It is held and tried again every [`hold_for`](ConsumerConfig::hold_for) until a program can read it; if its
    /// key is known the key waits.
    Hold,
    /// It is passed over; a record of it is kept.
    Skip,
    /// The consumer stops with [`ConsumerError::Unreadable`](super::ConsumerError::Unreadable) and acknowledges
    /// nothing.
    Fail,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            batch_size: 256,
            concurrency: 1,
            drain_timeout: Duration::from_secs(10),
            min_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(5),
            handler_timeout: Some(Duration::from_mins(1)),
            retry_in_place: Duration::from_secs(1),
            redelivery_concurrency: 4,
            redelivery_tick: Duration::from_secs(1),
            redelivery_margin: Duration::from_secs(30),
            undecodable: OnUnreadable::Park,
            unknown_version: OnUnreadable::Hold,
            unknown_event: None,
            hold_for: Duration::from_secs(30),
            breaker_threshold: 5,
            inbox_retention: Some(Duration::from_hours(30 * 24)),
            record_retention: Some(Duration::from_hours(90 * 24)),
            hygiene_tick: Duration::from_mins(1),
            recount: Duration::from_mins(1),
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
