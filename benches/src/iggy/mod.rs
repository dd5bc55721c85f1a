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

use std::ops::Deref;

use anyhow::Result;

pub(crate) use self::broker::{Broker, Kind};
use crate::selection::{Selection, is_named};

/// What is printed, and how thoroughly.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    selection: Selection,
    /// Only the brokers whose name contains this, such as `memory`.
    #[arg(long, value_name = "NAME")]
    broker: Vec<String>,
}

impl Deref for Options {
    type Target = Selection;

    fn deref(&self) -> &Selection {
        &self.selection
    }
}

impl Options {
    /// How many messages one run sends or reads.
    fn messages(&self) -> u64 {
        if self.quick { 200_000 } else { 400_000 }
    }

    fn wants_broker(&self, kind: Kind) -> bool {
        is_named(kind.name(), &self.broker)
    }
}

/// Measures and prints.
pub(crate) async fn run(options: Options) -> Result<()> {
    options.header("broker", "ours", "bare SDK");
    for kind in [Kind::Memory, Kind::ALWAYS, Kind::Server] {
        if !options.wants_broker(kind) {
            continue;
        }
        let Some(broker) = Broker::start(kind).await? else { continue };
        produce::measure(&broker, &options).await?;
        consume::measure(&broker, &options).await?;
        latency::measure(&broker, &options).await?;
        broker.stop().await;
    }
    versus::measure(&options).await?;
    options.header("broker", "1 GB", "empty");
    start::measure(&options).await
}
