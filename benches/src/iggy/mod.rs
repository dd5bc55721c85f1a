//! The transport against the bare SDK on the same broker, and the embedded broker against a real server.
//!
//! ```text
//!            ┌▶ ours: IggyTransport, as the relay and the consumers use it
//! messages ──┤                                                             both to one broker, in turn
//!            └▶ by hand: the SDK's producer and consumer
//! ```
//!
//! 512-byte payloads, 8 partitions, 1,000 messages a send and a poll. Brokers: the embedded one in memory and on disk,
//! and a real one where `TEST_IGGY_ADDRESS` names one.

mod broker;
mod consume;
mod latency;
mod messages;
mod produce;
pub(crate) mod start;
mod versus;

use anyhow::Result;

use self::broker::{Broker, Kind};
use crate::figure::{Figure, is_named};

/// What is printed, and how thoroughly.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Three short pairs a figure: to see that it runs.
    #[arg(long)]
    quick: bool,
    /// Only the cells whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only the brokers whose name contains this, such as `memory`.
    #[arg(long, value_name = "NAME")]
    broker: Vec<String>,
}

impl Options {
    /// How many pairs a cell takes, behind one that only warms up.
    fn pairs(&self) -> usize {
        if self.quick { 3 } else { 15 }
    }

    /// How many messages one run sends or reads.
    fn messages(&self) -> u64 {
        if self.quick { 200_000 } else { 400_000 }
    }

    fn wants(&self, cell: &str) -> bool {
        is_named(cell, &self.only)
    }

    fn table(&self, ours: &str, floor: &str) {
        if !self.json {
            println!("\n{}", Figure::header("broker", ours, floor));
        }
    }
}

/// Measures and prints.
pub(crate) async fn run(options: Options) -> Result<()> {
    options.table("ours", "bare SDK");
    for kind in [Kind::Memory, Kind::ALWAYS, Kind::Server] {
        if !is_named(kind.name(), &options.broker) {
            continue;
        }
        let Some(broker) = Broker::start(kind).await? else { continue };
        produce::measure(&broker, &options).await?;
        consume::measure(&broker, &options).await?;
        latency::measure(&broker, &options).await?;
        broker.stop().await;
    }
    versus::measure(&options).await?;
    options.table("1 GB", "empty");
    start::measure(&options).await
}
