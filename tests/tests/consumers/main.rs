//! The consumer runtime, its dead letters and the test kit, on every database.

#![allow(clippy::field_reassign_with_default, reason = "a configuration is set field by field")]

mod around;
mod batches;
mod commits;
mod domain;
mod failing;
mod grants;
mod groups;
mod inbox;
mod kit;
mod letters;
mod members;
mod together;
mod unreadable;
mod versions;
mod waiting;
