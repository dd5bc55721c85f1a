//! The test kit. Behind the feature `testing`; not for production builds.

pub mod conformance;
mod memory;

pub use self::memory::MemoryTransport;
pub use crate::fault::POINTS as FAULT_POINTS;
