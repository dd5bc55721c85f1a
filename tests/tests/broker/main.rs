//! The embedded broker, spoken to with the plain SDK and with raw bytes.

#![allow(clippy::missing_panics_doc, reason = "tests panic where they fail")]

mod client;
mod clients;
mod commands;
mod disk;
mod hostile;
mod kill;
mod retention;
mod sdk;
mod tail;
mod throughput;
mod tokens;
