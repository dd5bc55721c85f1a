//! What a lane knows of parked keys, and how it takes them up again.
//!
//! A lane is the only sender of its parts, so it learns of new parked keys from itself. It reads what is parked when
//! it is given a part, forgets all of it when parts were given to other lanes, and looks again from time to time while
//! anything is, for what an operator has decided.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use sea_orm::{DatabaseConnection, DbErr};

use crate::outbox::{
    Lease, OutboxRecord,
    parked::{self, ParkedKey},
};

/// How long an operator's decision can go unnoticed.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Parking {
    keys: HashSet<ParkedKey>,
    /// The keys among them whose events may be published.
    ready: Vec<ParkedKey>,
    /// The parts that were looked at, each with the epoch it was held under.
    known: HashMap<i64, i64>,
    looked_at: Option<Instant>,
    /// Whether events without a key are parked, and if so, whether some of them may be published.
    keyless: Option<bool>,
}

impl Parking {
    /// Whether an event must wait behind another one of its key.
    pub(super) fn waits(&self, part: i64, record: &OutboxRecord) -> bool {
        !self.keys.is_empty()
            && ParkedKey::of(part, record).is_some_and(|key| self.keys.contains(&key))
    }

    /// Notes that an event is parked: from now on its key waits.
    pub(super) fn note(&mut self, part: i64, record: &OutboxRecord) {
        match ParkedKey::of(part, record) {
            Some(key) => {
                self.keys.insert(key);
            }
            None => {
                self.keyless.get_or_insert(false);
            }
        }
    }

    /// The keys whose parked events may be published now.
    pub(super) fn take_ready(&mut self) -> Vec<ParkedKey> {
        std::mem::take(&mut self.ready)
    }

    /// Leaves a key whose parked events may be published to the next step.
    pub(super) fn go_on(&mut self, key: ParkedKey) {
        self.ready.push(key);
    }

    /// Whether a key's parked events were left to the next step.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether parked events without a key may be published now.
    pub(super) fn has_keyless(&self) -> bool {
        self.keyless == Some(true)
    }

    /// Notes that no parked event without a key may be published.
    pub(super) fn keyless_are_done(&mut self) {
        self.keyless = self.keyless.map(|_| false);
    }

    /// Lets a key go on.
    pub(super) fn free(&mut self, key: &ParkedKey) {
        self.keys.remove(key);
    }

    /// Reads what is parked in parts that are new to this lane, and looks again at the others when it is time.
    pub(super) async fn refresh(
        &mut self,
        db: &DatabaseConnection,
        leases: &[Lease],
    ) -> Result<(), DbErr> {
        let is_new = |lease: &&Lease| self.known.get(&lease.part) != Some(&lease.epoch);
        let anything = !self.keys.is_empty() || self.keyless.is_some();
        let due = anything && self.looked_at.is_none_or(|at| at.elapsed() >= LOOK);
        if !due && !leases.iter().any(|lease| is_new(&lease)) {
            return Ok(());
        }
        let found = parked::keys(db, leases.iter().map(|lease| lease.part)).await?;
        self.keyless = parked::has_keyless(db, leases.iter().map(|lease| lease.part)).await?;
        self.keys.clear();
        self.ready.clear();
        for (key, ready) in found {
            if ready {
                self.ready.push(key.clone());
            }
            self.keys.insert(key);
        }
        self.known = leases.iter().map(|lease| (lease.part, lease.epoch)).collect();
        self.looked_at = Some(Instant::now());
        Ok(())
    }
}
