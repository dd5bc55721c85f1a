//! Faults from a plan: what goes wrong, where, and at which passing.

use std::fmt;

use super::{Draw, POINTS};

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// The process ends there, as by `kill -9`: nothing in it passes another point. See [`Process`](super::Process).
    Crash,
    /// The process is told to stop, and goes on as it does at any stop.
    Stop,
    /// The connection is lost: an error instead of the call (`….before`), or instead of its answer (`….after`).
    Error,
    /// The process stands still for [longer than a lease](super::Faults::pause): whoever passes a point meanwhile waits.
    Pause,
    /// The broker does something twice: appends a batch, hands a batch out.
    Duplicate,
    /// The broker stores a part of a batch and answers with an error.
    Torn,
    /// The broker cannot be reached by one call.
    Disconnect,
    /// Another member joins the group, takes its share of the partitions, does nothing and leaves again.
    Rebalance,
    /// The broker hands out a later batch of another partition first.
    Reorder,
}

impl Fault {
    /// What can go wrong at a point.
    pub(super) fn at(point: &str) -> &'static [Self] {
        match point {
            "broker.publish" => &[Self::Duplicate, Self::Torn, Self::Disconnect],
            "broker.next" => &[Self::Duplicate, Self::Reorder, Self::Disconnect, Self::Rebalance],
            "broker.acknowledge" => &[Self::Disconnect, Self::Rebalance],
            "broker.provision" | "broker.subscribe" => &[Self::Disconnect],
            _ if point.starts_with("outbox.") => &[Self::Crash, Self::Error, Self::Pause],
            _ => &[Self::Crash, Self::Error, Self::Pause, Self::Stop],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crash => "crash",
            Self::Stop => "stop",
            Self::Error => "error",
            Self::Pause => "pause",
            Self::Duplicate => "duplicate",
            Self::Torn => "torn",
            Self::Disconnect => "disconnect",
            Self::Rebalance => "rebalance",
            Self::Reorder => "reorder",
        })
    }
}

/// A fault at one passing of one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlannedFault {
    /// The point: one of [`FAULT_POINTS`](crate::testing::FAULT_POINTS) or
    /// [`BROKER_POINTS`](crate::testing::BROKER_POINTS).
    pub point: &'static str,
    /// At which passing, from 1. All processes that share the plan count together.
    pub passing: u32,
    /// What goes wrong.
    pub fault: Fault,
}

impl fmt::Display for PlannedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}#{}", self.fault, self.point, self.passing)
    }
}

/// The points inside [`FaultyTransport`](crate::testing::FaultyTransport).
pub const BROKER_POINTS: &[&str] = &[
    "broker.provision",
    "broker.publish",
    "broker.subscribe",
    "broker.next",
    "broker.acknowledge",
];

/// How many faults a seed takes from the points in turn.
const BY_TURN: u64 = 11;

/// Points that a run passes a few times only.
const SELDOM: [&str; 3] = ["provision", "park", "release"];

/// The points in turn, in an order that changes with each round: the `place`-th of all.
fn by_turn(place: u64) -> &'static str {
    let mut points: Vec<&'static str> = POINTS.iter().chain(BROKER_POINTS).copied().collect();
    let count = points.len() as u64;
    let mut draw = Draw::new(place / count, "round");
    for end in (1..points.len()).rev() {
        points.swap(end, draw.below(end + 1));
    }
    points[usize::try_from(place % count).unwrap_or(0)]
}

/// A few faults, at points and passings that the seed decides.
pub(super) fn seeded(seed: u64) -> Vec<PlannedFault> {
    let mut draw = Draw::new(seed, "faults");
    let mut planned = Vec::new();
    for place in 0..BY_TURN {
        let point = by_turn(seed.wrapping_mul(BY_TURN).wrapping_add(place));
        // What is passed seldom is met early or not at all.
        let seldom = SELDOM.iter().any(|name| point.contains(name));
        let passing = if seldom { 1 } else { *draw.of(&[1, 1, 1, 2, 2, 3]) };
        planned.push(PlannedFault { point, passing, fault: *draw.of(Fault::at(point)) });
    }
    for _ in 0..draw.below(3) {
        let point = by_turn(draw.next());
        let passing = *draw.of(&[2, 3, 5, 8, 13]);
        planned.push(PlannedFault { point, passing, fault: *draw.of(Fault::at(point)) });
    }
    planned
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn consecutive_seeds_meet_all_points_alike() {
        let mut met: HashMap<&str, u32> = HashMap::new();
        for fault in (0..100).flat_map(seeded) {
            assert!(Fault::at(fault.point).contains(&fault.fault), "{fault}");
            *met.entry(fault.point).or_default() += 1;
        }
        for point in POINTS.iter().chain(BROKER_POINTS) {
            let times = met.get(point).copied().unwrap_or(0);
            assert!((25..=55).contains(&times), "{point}: {times}");
        }
        assert_eq!(seeded(7), seeded(7));
        assert_ne!(seeded(7), seeded(8));
    }
}
