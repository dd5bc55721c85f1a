//! What becomes of an event that a handler failed: the failure policy, in one place.

use std::time::Duration;

use super::{ConsumerConfig, OnUnreadable};
use crate::{
    backoff,
    handler::{Failure, FailureClass, RetryPolicy},
};

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is tried again after a pause.
    Retry { pause: Duration, attempts_left: u32 },
    /// It is held and tried again after a pause, however often.
    Hold { pause: Duration },
    /// It becomes a dead letter.
    Dead,
    /// It is passed over, with a record.
    Skip,
    /// The consumer stops.
    Fail,
}

/// Judges a failure of an event that had `attempts_left` attempts, the failed one included.
pub(super) fn judge(
    config: &ConsumerConfig,
    retry: &RetryPolicy,
    failure: &Failure,
    attempts_left: u32,
) -> Verdict {
    let unreadable = match failure.class {
        FailureClass::Terminal => return Verdict::Dead,
        FailureClass::Retryable(_) if attempts_left <= 1 => return Verdict::Dead,
        FailureClass::Retryable(_) => {
            let attempts_left = attempts_left - 1;
            let failed = retry.attempts.saturating_sub(attempts_left);
            return Verdict::Retry {
                pause: backoff::pause(retry.min, retry.max, failed),
                attempts_left,
            };
        }
        FailureClass::Undecodable => config.undecodable,
        FailureClass::UnknownVersion => config.unknown_version,
        FailureClass::UnknownEvent => config.unknown_event.unwrap_or(OnUnreadable::Park),
    };
    match unreadable {
        OnUnreadable::Park => Verdict::Dead,
        OnUnreadable::Hold => Verdict::Hold { pause: config.hold_for },
        OnUnreadable::Skip => Verdict::Skip,
        OnUnreadable::Fail => Verdict::Fail,
    }
}
