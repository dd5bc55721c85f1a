//! The macros of `rustok-events`. Use them through that crate's re-exports.
