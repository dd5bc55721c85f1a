//! The relay to Iggy, against the same relay to a transport that stores nothing.

use anyhow::Result;
use iggy::prelude::{Identifier, StreamClient as _};
use rustok_events::DomainEvent as _;

use super::{
    Floor, Options,
    backlog::{drain, filled},
};
use crate::{
    database::{Place, Server},
    figure::Figure,
    iggy::{Broker, Kind},
    pairs::Pairs,
    sample::Sample,
    sink::Sink,
};

const EVENTS: u64 = 100_000;

pub(super) async fn measure<F: Floor>(server: Server, options: &Options) -> Result<()> {
    for kind in [Kind::Memory, Kind::Server] {
        let to = if kind == Kind::Server { "on a real server" } else { "in memory" };
        let name = format!("relay to Iggy {to}, to the same to nowhere");
        if !options.wants(&name) {
            continue;
        }
        if let Some(broker) = Broker::start(kind).await? {
            measure_to::<F>(server, options, &broker, &name).await?;
            broker.stop().await;
        }
    }
    Ok(())
}

async fn measure_to<F: Floor>(
    server: Server,
    options: &Options,
    broker: &Broker,
    name: &str,
) -> Result<()> {
    let place = Place::create(server).await?;
    filled::<F>(&place, EVENTS).await?;
    let iggy = broker.transport().await?;
    let mut pairs = Pairs::default();
    let mut inversions = 0;
    // The first pair only opens connections and warms caches.
    for pair in 0..=options.pairs() {
        let sink = Sink::new(EVENTS).behind(&iggy);
        let through = drain(&place, 1, EVENTS, &sink).await?;
        let nowhere = drain(&place, 1, EVENTS, &Sink::new(EVENTS)).await?;
        inversions += sink.inversions();
        if pair > 0 {
            pairs.push(through, nowhere);
        }
    }
    iggy.shutdown().await?;
    broker.client().await?.delete_stream(&Identifier::named(Sample::STREAM)?).await?;
    place.remove().await?;
    let figure = Figure::new(server.name(), name, "events/s", &pairs).target(0.6);
    options.print(&figure.requires(inversions == 0).note(format!("{inversions} inversions")));
    Ok(())
}
