//! The test kit. Behind the feature `testing`; not for production builds.
//!
//! - [`TestApp`]: relay, broker and consumers on a database in memory, with a clock moved by hand.
//! - [`HandlerTest`]: one handler, no broker at all.
//! - [`MemoryTransport`]: the smallest transport there is, for harnesses that run thousands of schedules.

mod app;
mod error;
mod handler_test;
mod home;
mod memory;
mod published;

pub use self::{
    app::{TestApp, TestAppBuilder},
    error::TestError,
    handler_test::{HandlerTest, HandlerTestBuilder, Then},
    memory::MemoryTransport,
};
pub use crate::fault::POINTS as FAULT_POINTS;
