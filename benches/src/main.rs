//! Figures, each a ratio against a floor that is measured in the same run, in turn with it.
//!
//! `cargo run --release -p benches -- relay` prints those of the outbox and the relay.

mod database;
mod figure;
mod pairs;
mod relay;
mod sample;
mod sink;

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
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().figures {
        Figures::Relay(options) => relay::run(options).await,
    }
}
