//! Two consumer processes of one group, killed at random while events flow.
//!
//! ```text
//! driver: publishes and relays ─▶ broker (a process) ─▶ consumer ┐
//!         kills, starts again                        └▶ consumer ┴▶ effects, without a unique constraint
//! ```
//!
//! What became of the events is counted from the tables at the end.

mod driver;
mod report;
mod worker;

use rustok_events::prelude::*;
use serde::{Deserialize, Serialize};

pub use self::{
    driver::{Options, run},
    report::Report,
    worker::{broker, consume},
};

/// How many keys the events have.
const KEYS: usize = 97;

/// What flows.
#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "members", topic = "steps", partition_key = key, partitions = 8)]
struct Step {
    key: String,
    number: i64,
}

/// What follows from it.
#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "members", topic = "echoes", partition_key = key, partitions = 8)]
struct Echo {
    key: String,
    number: i64,
}
