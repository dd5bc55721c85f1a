//! Suites that say whether something keeps to what this crate builds on.

pub use crate::transport::iggy::conformance as protocol;
