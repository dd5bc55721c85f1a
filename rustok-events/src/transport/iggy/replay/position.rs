//! Where a replay stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where a replay stands, to be kept and [resumed](super::ReplayBuilder::resume).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReplayPosition {
    pub(super) partitions: BTreeMap<u32, Range>,
}

/// Offsets from `next` up to and without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) next: u64,
    pub(super) end: u64,
}

/// How far a replay has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReplayProgress {
    /// How many messages are still to be looked at.
    pub remaining: u64,
    /// How many were looked at.
    pub read: u64,
    /// How many of them were handed out.
    pub delivered: u64,
}
