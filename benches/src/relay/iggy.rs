//! The relay to Iggy, against the same relay to a transport that stores nothing.

use anyhow::Result;
use rustok_events::{
    EventTransport, TransportError,
    iggy::{
        IggyConfig, IggyMode, IggyTransport,
        embedded::{BrokerConfig, EmbeddedBroker},
    },
    transport::{BoxFuture, OutgoingMessage, StartFrom, Subscription, TopicName, TopicSpec},
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
        let sink = Sink::new(EVENTS);
        let counted = Counted { iggy: iggy.clone(), sink: sink.clone() };
        let through = drain(&place, 1, EVENTS, &sink, &counted).await?;
        let nowhere = Sink::new(EVENTS);
        let nowhere = drain(&place, 1, EVENTS, &nowhere, &nowhere).await?;
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

/// Counts what Iggy has acknowledged.
#[derive(Clone)]
struct Counted {
    iggy: IggyTransport,
    sink: Sink,
}

impl EventTransport for Counted {
    fn provision<'a>(
        &'a self,
        topics: &'a [TopicSpec],
    ) -> BoxFuture<'a, Result<Vec<u32>, TransportError>> {
        self.iggy.provision(topics)
    }

    fn publish<'a>(
        &'a self,
        topic: &'a TopicName,
        partition: u32,
        messages: Vec<OutgoingMessage>,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        Box::pin(async move {
            let payloads: Vec<_> = messages.iter().map(|message| message.payload.clone()).collect();
            self.iggy.publish(topic, partition, messages).await?;
            for payload in &payloads {
                self.sink.take(payload);
            }
            Ok(())
        })
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        topic: &'a TopicName,
        start: StartFrom,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, TransportError>> {
        EventTransport::subscribe(&self.iggy, group, topic, start)
    }

    fn is_connected(&self) -> bool {
        self.iggy.is_connected()
    }

    fn shutdown(&self) -> BoxFuture<'_, Result<(), TransportError>> {
        EventTransport::shutdown(&self.iggy)
    }
}
