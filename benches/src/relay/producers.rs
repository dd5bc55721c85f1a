//! Relaying while eight producers publish as fast as they can, twenty events a transaction.

use std::{future::Future, time::Duration};

use anyhow::Result;
use rustok_events::TransactionalEventBus;
use tokio_util::sync::CancellationToken;

use super::{Floor, Options, backlog::ByHand, ours};
use crate::{
    database::{Place, Server},
    figure::Figure,
    pairs::Pairs,
    sample::Sample,
    sink::Sink,
};

const PRODUCERS: u64 = 8;
const BATCH: usize = 20;
/// More than any machine publishes within the time.
const CAPACITY: u64 = 40_000_000;

/// What one run saw.
#[derive(Debug, Clone, Copy)]
struct Run {
    relayed: f64,
    published: f64,
    /// What was published and not yet relayed, in the middle and at the end.
    behind: (u64, u64),
}

pub(super) async fn measure<F: Floor>(server: Server, options: &Options) -> Result<()> {
    let name = "eight producers of 20, one relay";
    if !options.wants(name) || server == Server::Sqlite {
        return Ok(());
    }
    let half = Duration::from_secs(if options.quick { 2 } else { 10 });
    let mut pairs = Pairs::default();
    let mut published = Pairs::default();
    let mut last = Vec::new();
    let mut inversions = 0;
    for _ in 0..if options.quick { 1 } else { 3 } {
        let place = Place::create(server).await?;
        let floor = F::connect(&place).await?;
        let (ours, seen) = ours(&place, half).await?;
        inversions += seen.inversions();
        let hand = by_hand(&floor, half).await?;
        place.remove().await?;
        pairs.push(ours.relayed, hand.relayed);
        published.push(ours.published, hand.published);
        last.push((ours.behind, hand.behind));
    }
    // Behind by a second's worth of events is not behind.
    let keeps_up =
        |((middle, end), _): &((u64, u64), (u64, u64))| *end <= *middle + (published.ours() as u64);
    let keeps_up = last.iter().all(keeps_up);
    let figure = Figure::new(server.name(), name, "events/s", &pairs)
        .target(0.7)
        .requires(inversions == 0 && keeps_up)
        .note(format!("published {:.0} and {:.0} a second", published.ours(), published.floor()))
        .note(format!("{inversions} inversions"))
        .note(format!("behind in the middle and at the end, ours and hand-written: {last:?}"));
    options.print(&figure);
    Ok(())
}

async fn ours(place: &Place, half: Duration) -> Result<(Run, Sink)> {
    let sink = Sink::new(CAPACITY);
    let relays = ours::Relays::start(place, 1, &sink).await?;
    let (db, bus) = (place.db.clone(), TransactionalEventBus::new());
    let run = produce(&sink, half, move |samples| {
        let (db, bus) = (db.clone(), bus.clone());
        async move { ours::publish(&db, &bus, samples, None).await }
    })
    .await?;
    relays.stop().await?;
    Ok((run, sink))
}

async fn by_hand<F: Floor>(floor: &F, half: Duration) -> Result<Run> {
    let sink = Sink::new(CAPACITY);
    let relays = ByHand::start(floor, 1, &sink);
    let (floor, nowhere) = (floor.clone(), Sink::new(0));
    let run = produce(&sink, half, move |samples| {
        let (floor, nowhere) = (floor.clone(), nowhere.clone());
        async move { floor.append(&samples, &nowhere).await }
    })
    .await?;
    relays.stop().await?;
    Ok(run)
}

/// Publishes for twice `half`.
async fn produce<P, W>(sink: &Sink, half: Duration, transaction: P) -> Result<Run>
where
    P: Fn(Vec<Sample>) -> W + Clone + Send + 'static,
    W: Future<Output = Result<()>> + Send + 'static,
{
    let stop = CancellationToken::new();
    let mut producers = Vec::new();
    let published = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    for producer in 0..PRODUCERS {
        let (transaction, stop, published) = (transaction.clone(), stop.clone(), published.clone());
        producers.push(tokio::spawn(async move {
            let mut number = producer;
            while !stop.is_cancelled() {
                let numbers = (number..).step_by(usize::try_from(PRODUCERS)?).take(BATCH);
                transaction(numbers.map(Sample::new).collect()).await?;
                number += PRODUCERS * BATCH as u64;
                published.fetch_add(BATCH as u64, std::sync::atomic::Ordering::Relaxed);
            }
            anyhow::Ok(())
        }));
    }
    let behind =
        || published.load(std::sync::atomic::Ordering::Relaxed).saturating_sub(sink.distinct());
    tokio::time::sleep(half).await;
    let middle = behind();
    tokio::time::sleep(half).await;
    let (end, relayed) = (behind(), sink.distinct());
    let total = published.load(std::sync::atomic::Ordering::Relaxed);
    stop.cancel();
    for producer in producers {
        producer.await??;
    }
    let seconds = 2.0 * half.as_secs_f64();
    Ok(Run {
        relayed: relayed as f64 / seconds,
        published: total as f64 / seconds,
        behind: (middle, end),
    })
}
