//! The relay to Iggy, against the same relay to a transport that stores nothing.

use anyhow::Result;
use rustok_events::iggy::{
    IggyConfig, IggyMode, IggyTransport,
    embedded::{BrokerConfig, EmbeddedBroker},
};

use super::{
    Floor, Options,
    backlog::{drain, filled},
};
use crate::{
    database::{Place, Server},
    figure::Figure,
    pairs::Pairs,
    sink::Sink,
};

const EVENTS: u64 = 100_000;

pub(super) async fn measure<F: Floor>(server: Server, options: &Options) -> Result<()> {
    let name = "relay to Iggy in memory, to the same to nowhere";
    if !options.wants(name) {
        return Ok(());
    }
    let place = Place::create(server).await?;
    filled::<F>(&place, EVENTS).await?;
    let broker = EmbeddedBroker::start(BrokerConfig::in_memory()).await?;
    let mut config = IggyConfig { mode: IggyMode::Remote, ..IggyConfig::default() };
    config.remote.addresses = vec![broker.address().to_string()];
    let iggy = IggyTransport::new(config).await?;
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
    broker.shutdown().await;
    place.remove().await?;
    let figure = Figure::new(server.name(), name, "events/s", &pairs).target(0.6);
    options.print(&figure.requires(inversions == 0).note(format!("{inversions} inversions")));
    Ok(())
}
