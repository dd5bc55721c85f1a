//! The consumer runtime, its dead letters and the test kit, on every database.

mod domain;
mod failing;
mod kit;
