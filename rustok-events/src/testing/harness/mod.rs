//! Proof of the promises: whole runs of writers, relays and consumers under faults, checked from ledgers.
//!
//! ```text
//! writers ─▶ outbox ─▶ 1–4 relays ─▶ FaultyTransport ─▶ memory ─▶ consumers of two groups ─▶ effects, follow-ups
//!    │                                                                                             │
//!    └──────────────▶ ledgers, without a unique constraint that could hide a duplicate ◀───────────┘
//! ```
//!
//! One seed is one schedule: how many of each there are, what they write, and what goes wrong where. How the database
//! interleaves them is the machine's; a schedule that failed once is run again a few times to see it fail.
//! When the writers are done the faults end, everything drains, and the promises are checked.

mod actors;
mod checks;
mod events;
mod keys;
mod log;
mod matrix;
mod observer;
mod order;
mod plan;
mod tables;
mod world;
mod writers;

use std::{fmt, sync::Arc, time::Duration};

use sea_orm::{DatabaseConnection, DbErr};

pub use self::matrix::Matrix;
use self::world::World;
use crate::fault::PlannedFault;

/// What is promised. The words of `docs/delivery-semantics.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Promise {
    /// P1: an event reaches the broker if and only if its transaction committed.
    Atomic,
    /// P2: every committed event reaches the broker and every group.
    NothingLost,
    /// P3: a first delivery never overtakes an earlier event of its key.
    OrderPerKey,
    /// P4: effects and follow-ups exactly once per group, handler and event.
    EffectivelyOnce,
    /// P5: an offset is stored only after the results it speaks of.
    ResultBeforeAcknowledgement,
    /// P6: a failing event stops its key, never its partition.
    KeyNotPartition,
}

impl Promise {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Atomic,
        Self::NothingLost,
        Self::OrderPerKey,
        Self::EffectivelyOnce,
        Self::ResultBeforeAcknowledgement,
        Self::KeyNotPartition,
    ];

    /// `P1` to `P6`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Atomic => "P1",
            Self::NothingLost => "P2",
            Self::OrderPerKey => "P3",
            Self::EffectivelyOnce => "P4",
            Self::ResultBeforeAcknowledgement => "P5",
            Self::KeyNotPartition => "P6",
        }
    }
}

/// Runs schedules on one database, one after the other.
#[derive(Debug)]
pub struct Harness {
    db: DatabaseConnection,
    patience: Duration,
}

/// What a schedule that kept every promise has seen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The schedule.
    pub seed: u64,
    /// What went wrong, and where.
    pub met: Vec<PlannedFault>,
    /// How many facts each promise was checked on, in the order of [`Promise::ALL`].
    pub facts: [u64; 6],
    /// How many events were committed, follow-ups included.
    pub events: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}): {}", self.promise.code(), self.promise, self.what)
    }
}

/// Why a schedule did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// Promises were broken.
    #[error(
        "schedule {seed}: {}\nplanned: {}\nmet: {}",
        lines(violations),
        list(planned),
        list(met)
    )]
    Broken {
        /// The schedule.
        seed: u64,
        /// What was broken, at least one.
        violations: Vec<Violation>,
        /// What was to go wrong.
        planned: Vec<PlannedFault>,
        /// What went wrong.
        met: Vec<PlannedFault>,
    },
    /// The database does not answer: something holds what everyone waits for.
    #[error("schedule {seed}: \n  P2 (NothingLost): the database is stuck after {after:?}")]
    Stuck {
        /// The schedule.
        seed: u64,
        /// How long was waited.
        after: Duration,
    },
    /// The ledgers could not be written or read.
    #[error("schedule {seed}: the ledgers cannot be used: {source}")]
    Ledger {
        /// The schedule.
        seed: u64,
        /// What the database said.
        source: DbErr,
    },
}

/// The first of each kind say what the others would repeat.
fn lines(violations: &[Violation]) -> String {
    const MOST: usize = 12;
    let mut lines: Vec<String> =
        violations.iter().take(MOST).map(|violation| format!("\n  {violation}")).collect();
    if violations.len() > MOST {
        lines.push(format!("\n  and {} more", violations.len() - MOST));
    }
    lines.concat()
}

fn list(faults: &[PlannedFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Harness {
    /// Prepares a migrated database that nobody else uses: creates the ledgers if they are not there.
    ///
    /// # Errors
    /// The database's.
    pub async fn new(db: DatabaseConnection) -> Result<Self, DbErr> {
        tables::create(&db).await?;
        Ok(Self { db, patience: Duration::from_secs(20) })
    }

    /// Sets how long a schedule may stand still while something has not arrived and nothing fails any more; what has
    /// not arrived by then is lost. 20 seconds unless set. Ten times as long is the most that a schedule may take.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs one schedule on emptied tables.
    ///
    /// Cancellation: dropping the future leaves the tables to the next run, which empties them.
    ///
    /// # Errors
    /// [`ScheduleError`] names the promises that were broken and the faults that were met.
    pub async fn run(&self, seed: u64) -> Result<Report, ScheduleError> {
        let most = self.patience * 10;
        let run = tokio::time::timeout(most, self.run_to_the_end(seed));
        run.await.unwrap_or(Err(ScheduleError::Stuck { seed, after: most }))
    }

    async fn run_to_the_end(&self, seed: u64) -> Result<Report, ScheduleError> {
        let started = std::time::Instant::now();
        let ledger = |source| ScheduleError::Ledger { seed, source };
        tables::reset(&self.db).await.map_err(ledger)?;
        let world = Arc::new(World::new(self.db.clone(), seed));
        actors::perform(&world, self.patience).await.map_err(ledger)?;
        let checked = checks::check(&world).await.map_err(ledger)?;
        let violations = world.violations();
        let met = world.faults.met();
        if violations.is_empty() {
            let elapsed = started.elapsed();
            let (facts, events) = (checked.facts, checked.events);
            return Ok(Report { seed, met, facts, events, elapsed });
        }
        let planned = world.faults.planned().to_vec();
        Err(ScheduleError::Broken { seed, violations, planned, met })
    }
}
