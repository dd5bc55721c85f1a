//! The test kit. Behind the feature `testing`; not for production builds.
//!
//! - [`TestApp`]: relay, broker and consumers on a database in memory, with a clock moved by hand.
//! - [`HandlerTest`]: one handler, no broker at all.
//! - [`Faults`]: what goes wrong, where and when, from a seed.
//! - [`MemoryTransport`]: the smallest transport there is, for harnesses that run thousands of schedules.
//! - [`conformance`]: what a transport of your own has to keep.

mod app;
mod call;
pub mod conformance;
mod error;
mod faulty;
#[doc(hidden)]
pub mod fuzz;
mod handler_test;
pub mod harness;
mod home;
mod memory;
mod published;

pub use self::{
    app::{TestApp, TestAppBuilder},
    call::HandlerCall,
    error::TestError,
    faulty::{AcknowledgeObserver, FaultyTransport},
    handler_test::{HandlerTest, HandlerTestBuilder, Then},
    memory::MemoryTransport,
};
pub use crate::fault::{
    BROKER_POINTS, Fault, Faults, POINTS as FAULT_POINTS, PlannedFault, Process,
};
