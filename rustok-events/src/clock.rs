//! Time as the runtime sees it: the system's clock, or in tests one that is moved by hand.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

/// A source of time for relays and consumers. A cheap clone of one clock.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    #[cfg_attr(not(feature = "testing"), allow(dead_code, reason = "only tests move a clock"))]
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    now: tokio::sync::watch::Sender<DateTime<Utc>>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that starts now and stands still until it is [advanced](Self::advance).
    #[cfg(feature = "testing")]
    pub fn manual() -> Self {
        let now = tokio::sync::watch::Sender::new(Utc::now());
        Self(Source::Manual(Arc::new(Manual { now })))
    }

    /// Moves a manual clock forward and wakes everything that was due. Does nothing to the system's clock.
    #[cfg(feature = "testing")]
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            manual.now.send_modify(|now| *now += by);
        }
    }

    /// Whether it is moved by hand. Then the databases' clocks do not count.
    pub(crate) fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// The time now, to the microsecond.
    pub fn now(&self) -> DateTime<Utc> {
        let now = match &self.0 {
            Source::System => Utc::now(),
            Source::Manual(manual) => *manual.now.borrow(),
        };
        DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
    }

    /// Waits for `duration` of this clock's time. Cancellation-safe.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::System => tokio::time::sleep(duration).await,
            Source::Manual(_) => self.sleep_until(self.now() + duration).await,
        }
    }

    /// Waits until it is `time` by this clock; not at all if that is past. Cancellation-safe.
    pub async fn sleep_until(&self, time: DateTime<Utc>) {
        match &self.0 {
            Source::System => {
                tokio::time::sleep((time - Utc::now()).to_std().unwrap_or_default()).await;
            }
            Source::Manual(manual) => {
                // The sender lives in `manual`, which we hold: waiting cannot fail.
                let _ = manual.now.subscribe().wait_for(|now| *now >= time).await;
            }
        }
    }
}
