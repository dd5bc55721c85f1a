//! Whether an outbox makes progress, and if not, why: each cause by name, with the age of the oldest waiting event.

use std::{fmt, time::Duration};

use chrono::{DateTime, Utc};
use sea_orm::{DatabaseConnection, DbErr};

use super::{
    OutboxStatus, PartStatus,
    cluster::{self, ClusterTrouble},
    status,
};
use crate::clock::Clock;

/// How the outbox of a database is doing. Asked with [`outbox_health`].
#[derive(Debug)]
#[non_exhaustive]
pub struct OutboxHealth {
    /// What stops progress, the gravest first. Empty if nothing does.
    pub causes: Vec<OutboxTrouble>,
    /// What was seen; `None` if the database could not be asked. Unknown is not zero.
    pub status: Option<OutboxStatus>,
}

impl OutboxHealth {
    /// Whether nothing stops progress.
    pub fn is_healthy(&self) -> bool {
        self.causes.is_empty()
    }

    /// How long the oldest waiting event has waited, a delayed one since it was due; `None` if nothing waits, or if it is
    /// unknown.
    pub fn oldest(&self) -> Option<Duration> {
        oldest(self.status.as_ref()?)
    }
}

/// Why an outbox makes no progress.
#[derive(Debug)]
#[non_exhaustive]
pub enum OutboxTrouble {
    /// The database cannot be asked.
    DatabaseAway(DbErr),
    /// The tables do not fit this program.
    Schema(crate::migration::SchemaError),
    /// The cursors do not belong to this cluster: see the cause.
    Cluster(ClusterTrouble),
    /// Events wait in parts that no relay holds.
    NoHolder {
        /// The parts: all of them if delayed events are due and no relay holds any.
        parts: Vec<i64>,
    },
    /// A relay holds the parts and cannot publish.
    RelayStuck {
        /// The relay.
        owner: String,
        /// The code of what stops it, such as `broker_away`.
        code: String,
    },
    /// Events wait longer than they should, and no relay says why.
    Stalled {
        /// How long the oldest has waited.
        oldest: Duration,
    },
    /// The broker refused events for good: their keys are parked until an operator decides.
    KeyParked {
        /// How many were refused.
        refused: u64,
        /// How many wait behind them.
        behind: u64,
    },
    /// This process's clock and the database's differ. Leases do not mind, they go by the database's; delayed events
    /// come too early or too late, and events carry wrong times.
    ClockSkew {
        /// How far apart they are at least.
        by: Duration,
        /// Whether this process's is the one ahead.
        is_ahead: bool,
    },
}

impl OutboxTrouble {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::DatabaseAway(_) => "database_away",
            Self::Schema(error) => error.code(),
            Self::Cluster(trouble) => trouble.code(),
            Self::NoHolder { .. } => "no_holder",
            Self::RelayStuck { .. } => "relay_stuck",
            Self::Stalled { .. } => "stalled",
            Self::KeyParked { .. } => "key_parked",
            Self::ClockSkew { .. } => "clock_skew",
        }
    }
}

impl fmt::Display for OutboxTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DatabaseAway(error) => write!(f, "the database cannot be asked: {error}"),
            Self::Schema(error) => error.fmt(f),
            Self::Cluster(trouble) => trouble.fmt(f),
            Self::NoHolder { parts } => {
                write!(
                    f,
                    "events wait in parts that no relay holds: {parts:?}; is a relay running?"
                )
            }
            Self::RelayStuck { owner, code } => write!(f, "relay `{owner}` cannot publish: {code}"),
            Self::Stalled { oldest } => {
                write!(
                    f,
                    "the oldest event has waited {} s, and no relay says why",
                    oldest.as_secs()
                )
            }
            Self::KeyParked { refused, behind } => write!(
                f,
                "the broker refused {refused} events for good, {behind} wait behind them: retry or discard them"
            ),
            Self::ClockSkew { by, is_ahead } => {
                let way = if *is_ahead { "ahead of" } else { "behind" };
                let seconds = by.as_secs_f64();
                write!(
                    f,
                    "the clock of this process is {seconds:.1} s {way} the database's: let both follow a time server"
                )
            }
        }
    }
}

/// How long an event may wait before an outbox is not healthy.
pub const STALL_AFTER: Duration = Duration::from_secs(30);

/// How far this process's clock may be from the database's before an outbox is not healthy.
pub const SKEW_FROM: Duration = Duration::from_secs(5);

/// Asks whether the outbox of a database makes progress. Nothing that stops it stays unseen for longer than
/// [`STALL_AFTER`].
pub async fn outbox_health(db: &DatabaseConnection) -> OutboxHealth {
    health(db, &Clock::system()).await
}

/// [`outbox_health`] by a clock that may be moved by hand.
pub(crate) async fn health(db: &DatabaseConnection, clock: &Clock) -> OutboxHealth {
    if let Err(error) = crate::migration::check(db).await {
        let cause = match error {
            crate::migration::SchemaError::Database(error) => OutboxTrouble::DatabaseAway(error),
            error => OutboxTrouble::Schema(error),
        };
        return OutboxHealth { causes: vec![cause], status: None };
    }
    let mut causes = Vec::new();
    match cluster::check(db).await {
        Ok(None) => {}
        Ok(Some(trouble)) => causes.push(OutboxTrouble::Cluster(trouble)),
        Err(error) => causes.push(OutboxTrouble::DatabaseAway(error)),
    }
    let asked = clock.now();
    match status::status(db, clock).await {
        Ok(status) => {
            causes.extend(causes_in(&status));
            causes.extend(skew(asked, status.now, clock.now()));
            OutboxHealth { causes, status: Some(status) }
        }
        Err(error) => {
            causes.push(OutboxTrouble::DatabaseAway(error));
            OutboxHealth { causes, status: None }
        }
    }
}

/// What is wrong if the database said that it was `there` at some time between `asked` and `answered`.
fn skew(
    asked: DateTime<Utc>,
    there: DateTime<Utc>,
    answered: DateTime<Utc>,
) -> Option<OutboxTrouble> {
    let (ahead, behind) = (asked - there, there - answered);
    let (by, is_ahead) = if ahead > behind { (ahead, true) } else { (behind, false) };
    let by = by.to_std().ok().filter(|by| *by >= SKEW_FROM)?;
    Some(OutboxTrouble::ClockSkew { by, is_ahead })
}

/// How long the oldest event has waited for a relay.
fn oldest(status: &OutboxStatus) -> Option<Duration> {
    status.oldest.max(status.overdue)
}

fn causes_in(status: &OutboxStatus) -> Vec<OutboxTrouble> {
    let mut causes = Vec::new();
    if let Some(oldest) = oldest(status).filter(|oldest| *oldest >= STALL_AFTER) {
        // Whoever holds a part, whichever, moves what is due into the log.
        let nobody_releases = status.overdue.is_some_and(|overdue| overdue >= STALL_AFTER)
            && !status.parts.iter().any(|part| part.is_held);
        let waits = |part: &&PartStatus| part.backlog > 0 || nobody_releases;
        let alone = status.parts.iter().filter(waits).filter(|part| !part.is_held);
        let parts: Vec<i64> = alone.map(|part| part.part).collect();
        if !parts.is_empty() {
            causes.push(OutboxTrouble::NoHolder { parts });
        }
        for relay in status.relays.iter().filter(|relay| relay.is_alive) {
            if let Some(code) = relay.trouble.clone() {
                causes.push(OutboxTrouble::RelayStuck { owner: relay.owner.clone(), code });
            }
        }
        if causes.is_empty() {
            causes.push(OutboxTrouble::Stalled { oldest });
        }
    }
    if status.refused > 0 {
        let (refused, behind) = (status.refused, status.parked_behind);
        causes.push(OutboxTrouble::KeyParked { refused, behind });
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn said(asked: i64, there: i64, answered: i64) -> Option<(u64, bool)> {
        match skew(at(asked), at(there), at(answered))? {
            OutboxTrouble::ClockSkew { by, is_ahead } => Some((by.as_secs(), is_ahead)),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn clocks_differ_by_what_the_time_of_an_answer_cannot_explain() {
        assert_eq!(said(100, 100, 100), None);
        assert_eq!(said(100, 104, 100), None);
        assert_eq!(said(100, 105, 100), Some((5, false)));
        assert_eq!(said(100, 90, 101), Some((10, true)));
        // An answer that took a minute may have been given at any time of it.
        assert_eq!(said(100, 160, 160), None);
        assert_eq!(said(100, 170, 160), Some((10, false)));
    }
}
