//! How long one message alone takes until it is acknowledged.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use iggy::prelude::{Client as _, Partitioning};
use rustok_events::EventTransport as _;

use super::{
    Options,
    broker::Broker,
    messages::{Headers, batches},
    produce,
};
use crate::{
    figure::Figure,
    pairs::{Pairs, percentile},
};

pub(super) async fn measure(broker: &Broker, options: &Options) -> Result<()> {
    let name = "publish of one event";
    if !options.wants(name) {
        return Ok(());
    }
    let messages = if options.quick { 500 } else { 2_000 };
    let (mut p50, mut p99) = (Pairs::default(), Pairs::default());
    for pair in 0..=options.pairs() {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for turn in 0..2 {
            if turn == pair % 2 {
                ours = through_ours(broker, messages).await?;
            } else {
                bare = by_hand(broker, messages).await?;
            }
        }
        if pair > 0 {
            let micros = |sorted: &[Duration], percent| percentile(sorted, percent) * 1000.0;
            p50.push(micros(&ours, 50), micros(&bare, 50));
            p99.push(micros(&ours, 99), micros(&bare, 99));
        }
    }
    for (percentile, pairs) in [("p50", p50), ("p99", p99)] {
        let name = format!("{name}, {percentile}");
        Figure::new(broker.kind.name(), &name, "µs", &pairs).print(options.json);
    }
    Ok(())
}

async fn through_ours(broker: &Broker, messages: u64) -> Result<Vec<Duration>> {
    let transport = broker.transport().await?;
    let topic = broker.topic(&transport).await?;
    let (sending, to) = (transport.clone(), topic.clone());
    let each = tokio::spawn(async move {
        let mut each = Vec::new();
        for (partition, batch) in batches(messages, 1, Headers::Envelope)? {
            let began = Instant::now();
            sending.publish(&to, partition, batch).await?;
            each.push(began.elapsed());
        }
        each.sort_unstable();
        anyhow::Ok(each)
    });
    let each = each.await??;
    transport.shutdown().await?;
    broker.remove(&topic, messages).await?;
    Ok(each)
}

async fn by_hand(broker: &Broker, messages: u64) -> Result<Vec<Duration>> {
    let transport = broker.transport().await?;
    let topic = broker.topic(&transport).await?;
    transport.shutdown().await?;
    let client = broker.client().await?;
    let producer = produce::producer(&client, &topic).await?;
    let each = tokio::spawn(async move {
        let mut each = Vec::new();
        for (partition, batch) in batches(messages, 1, Headers::Envelope)? {
            let began = Instant::now();
            let batch = batch.into_iter().map(produce::message).collect::<Result<Vec<_>>>()?;
            let place = Arc::new(Partitioning::partition_id(partition));
            producer.send_with_partitioning(batch, Some(place)).await?;
            each.push(began.elapsed());
        }
        each.sort_unstable();
        anyhow::Ok(each)
    });
    let each = each.await??;
    client.shutdown().await?;
    broker.remove(&topic, messages).await?;
    Ok(each)
}
