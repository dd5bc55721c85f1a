//! From the commit to the sink, and to a handler behind Iggy, while 2,000 events a second are offered.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustok_events::{
    ConsumerRuntime, DomainEvent as _, EventHandler, EventTransport as _, TransactionalEventBus,
    iggy::{
        IggyConfig, IggyMode, IggyTransport,
        embedded::{BrokerConfig, EmbeddedBroker},
    },
    prelude::*,
    transport::{TopicName, TopicSpec},
};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Floor, Options, backlog::ByHand, ours};
use crate::{
    database::{Place, Server},
    figure::Figure,
    pairs::{Pairs, percentile},
    sample::{PARTITIONS, Sample},
    sink::Sink,
};

/// Events a second.
const RATE: u64 = 2_000;
/// Events of one business transaction: the machine does not take 2,000 transactions a second.
const PER_TRANSACTION: u64 = 4;
const PRODUCERS: u64 = 4;
/// Seconds that are not counted: connections are opened and statements prepared in them.
const WARM_UP: u64 = 1;

/// How events are committed, and how far they are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `bus.commit`, to the sink.
    Sink,
    /// `txn.commit`, to the sink.
    Unheard,
    /// `bus.commit`, through Iggy in memory to a handler without the inbox.
    Handler,
    /// The same to a handler with the inbox, which begins a transaction first.
    Inbox,
}

impl Way {
    const ALL: [Self; 4] = [Self::Sink, Self::Unheard, Self::Handler, Self::Inbox];

    fn name(self) -> &'static str {
        match self {
            Self::Sink => "commit to sink at 2,000/s",
            Self::Unheard => "commit to sink at 2,000/s, no bus.commit",
            Self::Handler => "commit to handler at 2,000/s",
            Self::Inbox => "commit to handler with inbox at 2,000/s",
        }
    }

    /// The most milliseconds that the 50th and the 99th percentile may be. Without a wake it is one tick.
    fn most(self) -> [f64; 2] {
        match self {
            Self::Unheard => [100.0, 100.0],
            Self::Sink | Self::Handler | Self::Inbox => [5.0, 20.0],
        }
    }
}

pub(super) async fn measure<F: Floor>(server: Server, options: &Options) -> Result<()> {
    let seconds = WARM_UP + if options.quick { 3 } else { 10 };
    for way in Way::ALL.into_iter().filter(|way| options.wants(way.name())) {
        let (mut p50, mut p99) = (Pairs::default(), Pairs::default());
        let mut offered = Vec::new();
        for _ in 0..if options.quick { 1 } else { 3 } {
            let place = Place::create_quiet(server).await?;
            let floor = F::connect(&place).await?;
            let (ours, rate) = ours(&place, way, seconds).await?;
            let (hand, hand_rate) = by_hand(&floor, seconds).await?;
            place.remove().await?;
            p50.push(percentile(&ours, 50), percentile(&hand, 50));
            p99.push(percentile(&ours, 99), percentile(&hand, 99));
            offered.push((rate, hand_rate));
        }
        for ((percentile, pairs), most) in [("p50", p50), ("p99", p99)].into_iter().zip(way.most())
        {
            let name = format!("{}, {percentile}", way.name());
            let within = pairs.ours() <= most;
            let figure = Figure::new(server.name(), &name, "ms", &pairs)
                .requires(within)
                .note(format!("target: at most {most} ms"))
                .note(format!("offered a second: {offered:?}"));
            options.print(&figure);
        }
    }
    Ok(())
}

async fn ours(place: &Place, way: Way, seconds: u64) -> Result<(Vec<Duration>, u64)> {
    let sink = Sink::timed(RATE * seconds);
    match way {
        Way::Sink | Way::Unheard => {}
        Way::Handler => {
            let rate = through_iggy(place, detached, &sink, seconds).await?;
            return Ok((sink.latencies(RATE * WARM_UP), rate));
        }
        Way::Inbox => {
            let rate = through_iggy(place, timing, &sink, seconds).await?;
            return Ok((sink.latencies(RATE * WARM_UP), rate));
        }
    }
    let relays = ours::Relays::start(place, 1, &sink).await?;
    let rate = offer_ours(place, way, &sink, seconds).await?;
    relays.stop().await?;
    Ok((sink.latencies(RATE * WARM_UP), rate))
}

async fn offer_ours(place: &Place, way: Way, sink: &Sink, seconds: u64) -> Result<u64> {
    let (db, bus, seen) = (place.db.clone(), TransactionalEventBus::new(), sink.clone());
    offer(sink, seconds, move |samples| {
        let (db, bus, sink) = (db.clone(), bus.clone(), seen.clone());
        async move {
            match way {
                Way::Unheard => ours::publish_unheard(&db, &bus, samples, &sink).await,
                Way::Sink | Way::Handler | Way::Inbox => {
                    ours::publish(&db, &bus, samples, Some(&sink)).await
                }
            }
        }
    })
    .await
}

#[event_handler(group = "timing")]
async fn timing(ctx: &mut HandlerContext<'_, Sink>, event: Sample) -> HandlerResult {
    ctx.state().came(event.number());
    Ok(())
}

#[event_handler(group = "detached", inbox = none)]
async fn detached(ctx: &mut DetachedContext<'_, Sink>, event: Sample) -> HandlerResult {
    ctx.state().came(event.number());
    Ok(())
}

/// Relay, broker and consumer in one process, as in a service.
async fn through_iggy(
    place: &Place,
    handler: impl EventHandler<Sink>,
    sink: &Sink,
    seconds: u64,
) -> Result<u64> {
    let broker = EmbeddedBroker::start(BrokerConfig::in_memory()).await?;
    let mut config = IggyConfig { mode: IggyMode::Remote, ..IggyConfig::default() };
    config.remote.addresses = vec![broker.address().to_string()];
    let iggy = IggyTransport::new(config).await?;
    let name = TopicName::new(Sample::STREAM, Sample::TOPIC);
    iggy.provision(&[TopicSpec { name, partitions: Some(PARTITIONS) }]).await?;
    let consumers = ConsumerRuntime::builder(place.connect(8).await?, iggy.clone())
        .state(sink.clone())
        .handler(handler)
        .build()?;
    let stop = CancellationToken::new();
    let consuming = tokio::spawn(consumers.run(stop.clone()));
    let relays = ours::Relays::start_to(place, iggy.clone()).await?;
    let rate = offer_ours(place, Way::Handler, sink, seconds).await?;
    relays.stop().await?;
    stop.cancel();
    consuming.await??;
    iggy.shutdown().await?;
    broker.shutdown().await;
    Ok(rate)
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
    Ok((sink.latencies(RATE * WARM_UP), rate))
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
            let every = Duration::from_secs(PRODUCERS * PER_TRANSACTION) / u32::try_from(RATE)?;
            let mut tick = tokio::time::interval(every);
            tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let numbers: Vec<u64> =
                (producer..RATE * seconds).step_by(usize::try_from(PRODUCERS)?).collect();
            for numbers in numbers.chunks(usize::try_from(PER_TRANSACTION)?) {
                tick.tick().await;
                transaction(numbers.iter().copied().map(Sample::new).collect()).await?;
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
