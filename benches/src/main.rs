//! Figures, each a ratio against a floor that is measured in the same run, in turn with it.
//!
//! `cargo run --release -p benches -- relay` prints those of the outbox and the relay, `consume` those of the consumers,
//! `iggy` those of the transport and the embedded broker, `derive` what the macros add to the time of `cargo check`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures are rounded"
)]

mod consume;
mod database;
mod derive;
mod figure;
mod iggy;
mod pairs;
mod relay;
mod sample;
mod selection;
mod sink;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Figures, each a ratio against a floor measured in the same run.")]
struct Arguments {
    #[command(subcommand)]
    figures: Figures,
}

#[derive(Debug, Subcommand)]
enum Figures {
    /// The outbox and the relay, against hand-written SQL.
    Relay(relay::Options),
    /// The consumers, against a loop written by hand over the SDK.
    Consume(consume::Options),
    /// The transport against the bare SDK, and the embedded broker against a real server.
    Iggy(iggy::Options),
    /// What the macros add to the time of `cargo check`.
    Derive,
    /// An embedded broker on a folder, for `iggy` to kill.
    #[command(hide = true)]
    Broker { folder: PathBuf },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().figures {
        Figures::Relay(options) => relay::run(options).await,
        Figures::Consume(options) => consume::run(options).await,
        Figures::Iggy(options) => iggy::run(options).await,
        Figures::Broker { folder } => iggy::start::serve(&folder).await,
        Figures::Derive => derive::run().map_err(|error| anyhow::anyhow!("{error}")),
    }
}
