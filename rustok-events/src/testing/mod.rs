//! The test kit. Behind the feature `testing`; not for production builds.

mod call;
mod memory;

pub use self::{call::HandlerCall, memory::MemoryTransport};
pub use crate::fault::POINTS as FAULT_POINTS;
