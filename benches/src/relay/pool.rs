//! Many outboxes: one pool with a few connections, against a relay for each.

use std::time::Duration;

use anyhow::Result;
use rustok_events::{
    TransactionalEventBus,
    relay::{RelayPool, RelayPoolConfig},
};
use sea_orm::ConnectOptions;
use tokio_util::sync::CancellationToken;

use super::{Options, ours};
use crate::{
    database::{Place, Server},
    figure::Figure,
    pairs::{Pairs, percentile},
    sample::Sample,
    sink::Sink,
};

const OUTBOXES: usize = 30;
const CONNECTIONS: usize = 4;
/// Events a second over all outboxes, each in turn.
const RATE: u64 = 50;

pub(super) async fn measure(server: Server, options: &Options) -> Result<()> {
    let name = format!("{OUTBOXES} outboxes, {CONNECTIONS} connections, {RATE}/s, commit to sink");
    if !options.wants(&name) {
        return Ok(());
    }
    let events = RATE * if options.quick { 5 } else { 20 };
    let mut places = Vec::new();
    for _ in 0..OUTBOXES {
        places.push(Place::create(server).await?);
    }
    let (mut p50, mut p99) = (Pairs::default(), Pairs::default());
    for _ in 0..if options.quick { 1 } else { 5 } {
        let pooled = pooled(&places, events).await?;
        let each = one_each(&places, events).await?;
        p50.push(percentile(&pooled, 50), percentile(&each, 50));
        p99.push(percentile(&pooled, 99), percentile(&each, 99));
    }
    for place in places {
        place.remove().await?;
    }
    for (percentile, pairs) in [("p50", p50), ("p99", p99)] {
        let figure = Figure::new(server.name(), &format!("{name}, {percentile}"), "ms", &pairs);
        options.print(&figure.note("compared with a relay for each outbox"));
    }
    Ok(())
}

async fn pooled(places: &[Place], events: u64) -> Result<Vec<Duration>> {
    let sink = Sink::timed(events);
    let config = RelayPoolConfig::default().max_connections(CONNECTIONS);
    let pool = RelayPool::new(sink.clone(), config);
    for (number, place) in places.iter().enumerate() {
        let mut options = ConnectOptions::new(&place.url);
        options.sqlx_logging(false);
        pool.add(number.to_string(), options);
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (pool, stop) = (pool.clone(), stop.clone());
        async move { pool.run(stop).await }
    });
    while pool.status().iter().any(|outbox| outbox.visited.is_none()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    offer(places, events, &sink).await?;
    stop.cancel();
    running.await?;
    Ok(sink.latencies(0))
}

async fn one_each(places: &[Place], events: u64) -> Result<Vec<Duration>> {
    let sink = Sink::timed(events);
    let mut relays = Vec::new();
    for place in places {
        relays.push(ours::Relays::start_with(place, 1, 1, &sink).await?);
    }
    offer(places, events, &sink).await?;
    for relays in relays {
        relays.stop().await?;
    }
    Ok(sink.latencies(0))
}

/// Publishes an event to each outbox in turn, at an even rate, and waits for the last.
async fn offer(places: &[Place], events: u64, sink: &Sink) -> Result<()> {
    let bus = TransactionalEventBus::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / u32::try_from(RATE)?);
    for (number, place) in (0..events).zip(places.iter().cycle()) {
        tick.tick().await;
        ours::publish(&place.db, &bus, vec![Sample::new(number)], Some(sink)).await?;
    }
    sink.until(events).await;
    Ok(())
}
