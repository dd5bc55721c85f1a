//! Relaying what is there already, to a transport that stores nothing; alone, four side by side, and while somebody
//! holds a snapshot open.

use std::time::Instant;

use anyhow::Result;
use rustok_events::TransactionalEventBus;
use sea_orm::{ConnectionTrait, IsolationLevel, TransactionTrait};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Floor, Options, clients, ours};
use crate::{
    database::{Place, Server},
    figure::Figure,
    pairs::Pairs,
    sink::Sink,
};

pub(super) async fn measure<F: Floor>(server: Server, options: &Options) -> Result<()> {
    let events = if matches!(server, Server::Postgres { .. }) { 200_000 } else { 100_000 };
    let relayed = [("relay, 1", 1, 0.9), ("relay, 4", 4, 0.7)];
    let relayed: Vec<_> = relayed
        .into_iter()
        .filter(|(name, relays, _)| {
            options.wants(name) && (server != Server::Sqlite || *relays == 1)
        })
        .collect();
    if !relayed.is_empty() {
        let place = Place::create(server).await?;
        let floor = filled::<F>(&place, events).await?;
        for (name, relays, target) in relayed {
            let figure = drains(&place, &floor, name, relays, events, options).await?;
            options.print(&figure.target(target));
        }
        place.remove().await?;
    }
    if options.wants("held snapshot") && matches!(server, Server::Postgres { .. }) {
        let place = Place::create(server).await?;
        let figure = held_snapshot(&place, options).await;
        place.remove().await?;
        options.print(&figure?);
    }
    if options.full
        && options.wants("backlog of 5 million")
        && matches!(server, Server::Postgres { .. })
    {
        let place = Place::create(server).await?;
        let figure = huge(&place).await;
        place.remove().await?;
        options.print(&figure?);
    }
    if options.full
        && options.wants("5 million retained")
        && matches!(server, Server::Postgres { .. })
    {
        let place = Place::create(server).await?;
        let figure = retained(&place).await;
        place.remove().await?;
        options.print(&figure?);
    }
    Ok(())
}

/// Fills both logs with the same events.
pub(super) async fn filled<F: Floor>(place: &Place, events: u64) -> Result<F> {
    let floor = F::connect(place).await?;
    append(place, 0, events).await?;
    append_by_hand(&floor, 0, events).await?;
    ours::remember(place).await?;
    place.settle().await?;
    ours::drain(place, events).await?;
    Ok(floor)
}

async fn append(place: &Place, from: u64, events: u64) -> Result<()> {
    let (db, bus) = (place.db.clone(), TransactionalEventBus::new());
    clients::publish(writers(place), from, events, 100, move |samples| {
        let (db, bus) = (db.clone(), bus.clone());
        async move { ours::publish(&db, &bus, samples, None).await }
    })
    .await?;
    Ok(())
}

async fn append_by_hand<F: Floor>(floor: &F, from: u64, events: u64) -> Result<()> {
    let (floor, nowhere) = (floor.clone(), Sink::new(0));
    clients::publish(1, from, events, 100, move |samples| {
        let (floor, nowhere) = (floor.clone(), nowhere.clone());
        async move { floor.append(&samples, &nowhere).await }
    })
    .await?;
    Ok(())
}

fn writers(place: &Place) -> u64 {
    if place.server == Server::Sqlite { 1 } else { 4 }
}

async fn drains<F: Floor>(
    place: &Place,
    floor: &F,
    name: &str,
    relays: usize,
    events: u64,
    options: &Options,
) -> Result<Figure> {
    let mut pairs = Pairs::default();
    let (mut inversions, mut duplicates) = (0, 0);
    // The first pair only opens connections and warms caches.
    for pair in 0..=options.pairs() {
        let ours_first = pair % 2 == 0;
        let before = if ours_first { 0.0 } else { drain_by_hand(floor, relays, events).await? };
        let sink = Sink::new(events);
        let ours = drain_again(place, relays, events, &sink).await?;
        let hand = if ours_first { drain_by_hand(floor, relays, events).await? } else { before };
        inversions += sink.inversions();
        duplicates += sink.duplicates();
        if pair > 0 {
            pairs.push(ours, hand);
        }
    }
    Ok(Figure::new(place.server.name(), name, "events/s", &pairs)
        .requires(inversions == 0)
        .note(format!("{inversions} inversions"))
        .note(format!("{duplicates} duplicates")))
}

/// [`drain`] by relays that have done it once: their connections have planned their statements then, which takes five
/// looks each, and the server has in memory what it has room for.
async fn drain_again(place: &Place, relays: usize, events: u64, sink: &Sink) -> Result<f64> {
    let running = ours::Relays::start(place, relays, sink).await?;
    ours::rewind(place, &TransactionalEventBus::new()).await?;
    sink.until(events).await;
    sink.forget();
    let rate = rate_of_rewound(place, events, sink).await?;
    running.stop().await?;
    Ok(rate)
}

/// Relays everything again, by relays that already share the parts, and returns how many a second.
pub(super) async fn drain(place: &Place, relays: usize, events: u64, sink: &Sink) -> Result<f64> {
    let running = ours::Relays::start(place, relays, sink).await?;
    let rate = rate_of_rewound(place, events, sink).await?;
    running.stop().await?;
    Ok(rate)
}

async fn rate_of_rewound(place: &Place, events: u64, sink: &Sink) -> Result<f64> {
    ours::rewind(place, &TransactionalEventBus::new()).await?;
    let began = Instant::now();
    sink.until(events).await;
    Ok(events as f64 / began.elapsed().as_secs_f64())
}

/// The like by hand-written relays, which have done it once too.
async fn drain_by_hand<F: Floor>(floor: &F, relays: usize, events: u64) -> Result<f64> {
    let mut rate = 0.0;
    for _ in 0..2 {
        let sink = Sink::new(events);
        floor.rewind().await?;
        let began = Instant::now();
        let running = ByHand::start(floor, relays, &sink);
        sink.until(events).await;
        rate = events as f64 / began.elapsed().as_secs_f64();
        running.stop().await?;
    }
    Ok(rate)
}

/// Hand-written relays that run.
pub(super) struct ByHand {
    stop: CancellationToken,
    running: JoinSet<Result<()>>,
}

impl ByHand {
    pub(super) fn start<F: Floor>(floor: &F, relays: usize, sink: &Sink) -> Self {
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        for worker in 0..relays {
            let (floor, sink, stop) = (floor.clone(), sink.clone(), stop.clone());
            running.spawn(async move { floor.relay(worker, relays, &sink, &stop).await });
        }
        Self { stop, running }
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Four steps of the same work while an idle transaction holds a snapshot open: the last to the first.
async fn held_snapshot(place: &Place, options: &Options) -> Result<Figure> {
    const STEP: u64 = 50_000;
    let mut pairs = Pairs::default();
    let mut from = 0;
    for _ in 0..options.pairs().min(5) {
        let holder = place.connect(1).await?;
        let held = holder.begin_with_config(Some(IsolationLevel::RepeatableRead), None).await?;
        held.execute_unprepared("SELECT COUNT(*) FROM orders").await?;
        let mut steps = Vec::new();
        for _ in 0..4 {
            append(place, from, STEP).await?;
            steps.push(catch_up(place, from + STEP, STEP).await?);
            from += STEP;
        }
        held.rollback().await?;
        holder.close().await?;
        pairs.push(steps[3], steps[0]);
        place.settle().await?;
    }
    Ok(Figure::new(place.server.name(), "held snapshot, step 4 to step 1", "events/s", &pairs)
        .target(0.9))
}

/// A backlog of five million against one of 200,000.
async fn huge(place: &Place) -> Result<Figure> {
    const SMALL: u64 = 200_000;
    const HUGE: u64 = 5_000_000;
    let mut pairs = Pairs::default();
    append(place, 0, SMALL).await?;
    place.settle().await?;
    ours::drain(place, HUGE).await?;
    let small = drain(place, 1, SMALL, &Sink::new(SMALL)).await?;
    append(place, SMALL, HUGE - SMALL).await?;
    place.settle().await?;
    ours::drain(place, HUGE).await?;
    let sink = Sink::new(HUGE);
    let huge = drain(place, 1, HUGE, &sink).await?;
    pairs.push(huge, small);
    Ok(Figure::new(
        place.server.name(),
        "backlog of 5 million to one of 200,000",
        "events/s",
        &pairs,
    )
    .target(0.7)
    .requires(sink.inversions() == 0))
}

/// 200,000 new events behind five million that are kept for replay, to the same behind 200,000.
async fn retained(place: &Place) -> Result<Figure> {
    const NEW: u64 = 200_000;
    const KEPT: u64 = 5_000_000;
    let mut rates = Vec::new();
    let mut there = 0;
    for kept in [NEW, KEPT] {
        append(place, there, kept - there).await?;
        place.settle().await?;
        ours::drain(place, kept).await?;
        append(place, kept, NEW).await?;
        place.settle().await?;
        there = kept + NEW;
        rates.push(catch_up(place, there, NEW).await?);
    }
    let mut pairs = Pairs::default();
    pairs.push(rates[1], rates[0]);
    let name = "5 million retained to 200,000 retained";
    Ok(Figure::new(place.server.name(), name, "events/s", &pairs).target(0.9))
}

/// Relays the newest `events` of those below `end`, and returns how many a second.
async fn catch_up(place: &Place, end: u64, events: u64) -> Result<f64> {
    let sink = Sink::new(end);
    let began = Instant::now();
    let running = ours::Relays::start(place, 1, &sink).await?;
    sink.until(events).await;
    let rate = events as f64 / began.elapsed().as_secs_f64();
    running.stop().await?;
    Ok(rate)
}
