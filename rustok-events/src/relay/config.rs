//! How a relay works.

use std::time::Duration;

use uuid::Uuid;

use crate::{Clock, fault::Faults};

/// How a relay works. The defaults suit a service; tests shorten the lease.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RelayConfig {
    /// The most events read and published at a time, by each lane. A lane begins with fewer, reads more while there is
    /// more, and fewer again where events are large.
    pub page_size: u64,
    /// How many lanes read and publish side by side, so that one reads while another publishes. Each part of the
    /// outbox belongs to one lane; while little comes they are all the first one's.
    pub lanes: usize,
    /// How long another relay waits before it takes over from one that went silent. Renewed at a third of it.
    pub lease: Duration,
    /// The shortest pause between two looks at an idle outbox; a commit through
    /// [`TransactionalEventBus::commit`](crate::TransactionalEventBus::commit) ends the pause at once.
    pub min_tick: Duration,
    /// The longest pause between two looks at an idle outbox.
    pub max_tick: Duration,
    /// The longest pause after an error.
    pub max_backoff: Duration,
    /// How long a topic's partition count is gone by before it is looked at again. A topic that was made anew with
    /// another count stops the relay with [`PartitionMismatch`](crate::TransportError::PartitionMismatch).
    pub recount: Duration,
    /// How long a stop waits for the pages at hand.
    pub stop_timeout: Duration,
    /// How long published events are kept, so that they can be published again for a broker that lost them.
    pub replay_window: Duration,
    /// How many events a partition of the log is made for at least, on PostgreSQL. Partitions are made for a quarter
    /// of the replay window at the pace at which events are written; where fewer are written, what is older than the
    /// window goes by the row.
    pub min_partition: u64,
    /// How long a write-once id is remembered. The same id is a new event after that.
    pub write_once_window: Duration,
    /// Who holds the lease, for operators to read. Unique for each relay.
    pub owner: String,
    /// The clock.
    pub clock: Clock,
    pub(crate) faults: Faults,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            page_size: 8000,
            lanes: 2,
            lease: Duration::from_secs(10),
            min_tick: Duration::from_millis(20),
            max_tick: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            recount: Duration::from_mins(1),
            stop_timeout: Duration::from_secs(5),
            replay_window: Duration::from_hours(24),
            min_partition: 100_000,
            write_once_window: Duration::from_hours(7 * 24),
            owner: format!("relay-{}-{}", std::process::id(), Uuid::now_v7().simple()),
            clock: Clock::system(),
            faults: Faults::default(),
        }
    }
}

impl RelayConfig {
    /// Sets the length of the lease.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the most events read and published at a time.
    #[must_use]
    pub fn page_size(mut self, page_size: u64) -> Self {
        self.page_size = page_size.max(1);
        self
    }

    /// Sets how long published events are kept.
    #[must_use]
    pub fn replay_window(mut self, window: Duration) -> Self {
        self.replay_window = window;
        self
    }

    /// Sets how many events a partition of the log is made for at least.
    #[must_use]
    pub fn min_partition(mut self, events: u64) -> Self {
        self.min_partition = events.max(1);
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets what goes wrong.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }
}
