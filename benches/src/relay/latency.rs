//! From the commit to the sink, while 2,000 events a second are offered.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustok_events::TransactionalEventBus;
use tokio::time::MissedTickBehavior;

use super::{Floor, Options, backlog::ByHand, ours};
use crate::{
    database::{Place, Server},
    figure::Figure,
    pairs::{Pairs, percentile},
    sample::Sample,
    sink::Sink,
};

const RATE: u64 = 2_000;
const PRODUCERS: u64 = 4;

pub(super) async fn measure<F: Floor>(server: Server, options: &Options) -> Result<()> {
    let name = "commit to sink at 2,000/s";
    if !options.wants(name) {
        return Ok(());
    }
    let seconds = if options.quick { 3 } else { 10 };
    let (mut p50, mut p99) = (Pairs::default(), Pairs::default());
    let mut offered = Vec::new();
    for _ in 0..if options.quick { 1 } else { 5 } {
        let place = Place::create(server).await?;
        let floor = F::connect(&place).await?;
        let (ours, rate) = ours(&place, seconds).await?;
        let (hand, hand_rate) = by_hand(&floor, seconds).await?;
        place.remove().await?;
        p50.push(percentile(&ours, 50), percentile(&hand, 50));
        p99.push(percentile(&ours, 99), percentile(&hand, 99));
        offered.push((rate, hand_rate));
    }
    for (percentile, pairs, most) in [("p50", p50, 5.0), ("p99", p99, 20.0)] {
        let name = format!("{name}, {percentile}");
        let within = pairs.ours() <= most;
        let figure = Figure::new(server.name(), &name, "ms", &pairs)
            .requires(within)
            .note(format!("target: at most {most} ms"))
            .note(format!("offered a second: {offered:?}"));
        options.print(&figure);
    }
    Ok(())
}

async fn ours(place: &Place, seconds: u64) -> Result<(Vec<Duration>, u64)> {
    let sink = Sink::timed(RATE * seconds);
    let relays = ours::Relays::start(place, 1, &sink).await?;
    let (db, bus, seen) = (place.db.clone(), TransactionalEventBus::new(), sink.clone());
    let rate = offer(&sink, seconds, move |samples| {
        let (db, bus, sink) = (db.clone(), bus.clone(), seen.clone());
        async move { ours::publish(&db, &bus, samples, Some(&sink)).await }
    })
    .await?;
    relays.stop().await?;
    Ok((sink.latencies(), rate))
}

async fn by_hand<F: Floor>(floor: &F, seconds: u64) -> Result<(Vec<Duration>, u64)> {
    let sink = Sink::timed(RATE * seconds);
    let relays = ByHand::start(floor, 1, &sink);
    let (floor, seen) = (floor.clone(), sink.clone());
    let rate = offer(&sink, seconds, move |samples| {
        let (floor, sink) = (floor.clone(), seen.clone());
        async move { floor.append(&samples, &sink).await }
    })
    .await?;
    relays.stop().await?;
    Ok((sink.latencies(), rate))
}

/// Publishes at an even rate, waits for the last event, and returns how many a second were published.
async fn offer<P, W>(sink: &Sink, seconds: u64, transaction: P) -> Result<u64>
where
    P: Fn(Vec<Sample>) -> W + Clone + Send + 'static,
    W: Future<Output = Result<()>> + Send + 'static,
{
    let began = Instant::now();
    let mut producers = Vec::new();
    for producer in 0..PRODUCERS {
        let transaction = transaction.clone();
        producers.push(tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(PRODUCERS) / 2_000);
            tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for number in (producer..RATE * seconds).step_by(usize::try_from(PRODUCERS)?) {
                tick.tick().await;
                transaction(vec![Sample::new(number)]).await?;
            }
            anyhow::Ok(())
        }));
    }
    for producer in producers {
        producer.await??;
    }
    let took = began.elapsed();
    sink.until(RATE * seconds).await;
    Ok((RATE as f64 * seconds as f64 / took.as_secs_f64()) as u64)
}
