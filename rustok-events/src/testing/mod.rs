//! The test kit. Behind the feature `testing`; not for production builds.

pub mod conformance;
mod faulty;
pub mod harness;
mod memory;

pub use self::{
    faulty::{AcknowledgeObserver, FaultyTransport},
    memory::MemoryTransport,
};
pub use crate::fault::{
    BROKER_POINTS, Fault, Faults, POINTS as FAULT_POINTS, PlannedFault, Process,
};
