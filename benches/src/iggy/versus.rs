//! Brokers against each other, through the bare SDK: the embedded one against a real server, and its sync policies
//! against memory.

use std::time::Duration;

use anyhow::Result;
use rustok_events::iggy::embedded::SyncPolicy;

use super::{
    Options,
    broker::{Broker, Kind},
    consume,
    messages::Headers,
    produce,
};
use crate::{figure::Figure, pairs::Pairs};

const INTERVAL: Kind = Kind::Disk(SyncPolicy::Interval(Duration::from_secs(1)));
const NEVER: Kind = Kind::Disk(SyncPolicy::Never);

/// What is done at both brokers.
#[derive(Debug, Clone, Copy)]
enum Work {
    Produce,
    Consume,
}

pub(super) async fn measure(options: &Options) -> Result<()> {
    if std::env::var_os(super::broker::ADDRESS).is_some() {
        options.header("broker", "embedded", "real server");
        for (kind, target) in [(Kind::Memory, 0.9), (Kind::ALWAYS, 0.5)] {
            against(kind, Kind::Server, Some(target), options).await?;
        }
    }
    options.header("broker", "on disk", "in memory");
    for kind in [Kind::ALWAYS, INTERVAL, NEVER] {
        against(kind, Kind::Memory, None, options).await?;
    }
    Ok(())
}

async fn against(kind: Kind, floor: Kind, target: Option<f64>, options: &Options) -> Result<()> {
    if !options.wants_broker(kind) {
        return Ok(());
    }
    for work in [Work::Produce, Work::Consume] {
        let what = if matches!(work, Work::Produce) { "produce" } else { "consume" };
        let name = format!("broker: {what}, against {}", floor.name());
        if !options.wants(&name) {
            continue;
        }
        let mut pairs = Pairs::default();
        for pair in 0..=options.pairs() {
            let mut rates = [0.0; 2];
            for turn in 0..2 {
                let which = (turn + pair) % 2;
                rates[which] = rate([kind, floor][which], work, options).await?;
            }
            if pair > 0 {
                pairs.push(rates[0], rates[1]);
            }
        }
        let figure = Figure::new(kind.name(), &name, "messages/s", &pairs);
        let figure = match target {
            Some(target) => figure.target(target),
            None => figure,
        };
        options.print(&figure);
    }
    Ok(())
}

/// A broker is started for each run: no other takes processor time meanwhile.
async fn rate(kind: Kind, work: Work, options: &Options) -> Result<f64> {
    let Some(broker) = Broker::start(kind).await? else { anyhow::bail!("no real server") };
    let messages = options.messages();
    let rate = match work {
        Work::Produce => produce::by_hand(&broker, messages, Headers::None).await?,
        Work::Consume => {
            let topic = consume::fill(&broker, messages, Headers::None).await?;
            let rate = consume::by_hand(&broker, &topic, messages, Headers::None).await?;
            broker.remove(&topic, messages).await?;
            rate
        }
    };
    broker.stop().await;
    Ok(rate)
}
