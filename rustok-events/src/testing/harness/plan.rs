//! What a seed decides besides the faults: who takes part, how they are set up, and which events fail.

use std::{collections::HashMap, time::Duration};

use crate::fault::{Draw, Fault, Faults};

/// The lease of the relays, in the schedule's own time.
pub(super) const LEASE: Duration = Duration::from_secs(4);
/// How much of the schedule's time passes with each millisecond.
pub(super) const PACE: Duration = Duration::from_millis(32);
/// A pause that a take-over fits into.
pub(super) const PAUSE: Duration = Duration::from_secs(5);
/// The keys that writers write on.
pub(super) const KEYS: [&str; 3] = ["ann", "bob", "cat"];
/// How many transactions each writer makes.
pub(super) const TRANSACTIONS: usize = 4;

/// The parties of a schedule.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) relays: usize,
    /// Which groups each consumer process serves.
    pub(super) consumers: Vec<Groups>,
    pub(super) writers: usize,
    /// How many milliseconds writers wait between transactions at most. Long waits outlast a pause, so that there
    /// is something to write after a zombie woke.
    pub(super) idle: usize,
    /// Whether a transaction writes more events of one key than a page takes.
    pub(super) bursts: bool,
    pub(super) page_size: u64,
    pub(super) batch_size: usize,
    /// How long failing events are retried in place before they are held.
    pub(super) retry_in_place: Duration,
    /// Which events fail, by handler and number.
    pub(super) fates: HashMap<(&'static str, &'static str, u32), Fate>,
    /// The facts that the broker refuses.
    pub(super) refused: Vec<u32>,
    /// What the operator does with what the broker refused.
    pub(super) operator: Operator,
    /// Whether writers delay some facts.
    pub(super) delays: bool,
}

/// What becomes of an event that the broker refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// The broker is made to take it, and it is retried.
    Retries,
    /// It is given up.
    Discards,
}

/// The groups of a consumer process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Groups {
    Alpha,
    Beta,
    Both,
}

/// How a handler fails at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// So many times, then no more.
    Fails(u32),
    /// So many times it ignores the error of a statement and succeeds, which on PostgreSQL spoils the transaction.
    Ignores(u32),
    /// Once, by a panic.
    Panics,
    /// Each time.
    Hopeless,
    /// With an error that says that no retry can help.
    Terminal,
}

impl Fate {
    /// Whether it ends as a dead letter.
    pub(super) fn is_deadly(self) -> bool {
        matches!(self, Self::Hopeless | Self::Terminal)
    }
}

/// The handlers of facts.
const HANDLERS: [(&str, &str); 3] = [("alpha", "record"), ("alpha", "audit"), ("beta", "record")];

/// The number of the `event`-th event of a writer's transaction.
pub(super) fn number(writer: usize, transaction: usize, event: usize) -> u32 {
    u32::try_from(writer * 100 + transaction * 10 + event).unwrap_or(u32::MAX)
}

impl Plan {
    pub(super) fn new(seed: u64, faults: &Faults) -> Self {
        let mut draw = Draw::new(seed, "parties");
        let mut relays = *draw.of(&[1, 2, 2, 3, 4]);
        let consumers = match draw.below(4) {
            0 => vec![Groups::Both],
            1 => vec![Groups::Alpha, Groups::Beta],
            2 => vec![Groups::Both, Groups::Alpha],
            _ => vec![Groups::Both, Groups::Both],
        };
        let writers = 2 + draw.below(2);
        let mut page_size = *draw.of(&[1, 2, 3, 5, 100]);
        let mut idle = *draw.of(&[6, 6, 120]);
        // A relay that sleeps in the middle of a window, and something to write after it woke.
        let bursts = faults.planned().iter().any(|planned| {
            planned.fault == Fault::Pause
                && ["relay.publish.after", "relay.advance.before"].contains(&planned.point)
        });
        if bursts {
            (page_size, idle) = (*draw.of(&[1, 2]), 250);
            relays = relays.max(2);
        }
        let batch_size = *draw.of(&[1, 2, 4, 16]);
        let retry_in_place = *draw.of(&[Duration::ZERO, Duration::from_millis(200)]);
        let mut fates = HashMap::new();
        let mut fate = |draw: &mut Draw, fate| {
            let (group, handler) = *draw.of(&HANDLERS);
            // The earlier an event, the more there is to wait behind it.
            let number = number(draw.below(writers), draw.below(2), 0);
            fates.insert((group, handler, number), fate);
        };
        for _ in 0..draw.below(3) {
            let times = 1 + u32::from(draw.chance(50));
            let mild = *draw.of(&[Fate::Panics, Fate::Ignores(times), Fate::Fails(times)]);
            fate(&mut draw, mild);
        }
        if draw.chance(95) {
            for _ in 0..2 {
                let deadly = *draw.of(&[Fate::Hopeless, Fate::Terminal]);
                fate(&mut draw, deadly);
            }
        }
        // What is seldom has to happen where a fault waits for it.
        let mut seldom = |points: &str| {
            let planned = faults.planned().iter().any(|fault| fault.point.starts_with(points));
            draw.chance(10) || planned
        };
        let (refuses, delays) = (seldom("relay.park."), seldom("relay.release."));
        let refused = (0..if refuses { 2 } else { 0 })
            .map(|_| number(draw.below(writers), draw.below(TRANSACTIONS - 1), 0))
            .collect();
        let operator = *draw.of(&[Operator::Retries, Operator::Discards]);
        Self {
            relays,
            consumers,
            writers,
            idle,
            bursts,
            page_size,
            batch_size,
            retry_in_place,
            fates,
            refused,
            operator,
            delays,
        }
    }
}
