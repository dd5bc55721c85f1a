//! Consuming in a group: the offset is stored after each poll, once everything it brought is counted.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use iggy::prelude::*;
use rustok_events::{
    EventTransport as _,
    transport::{StartFrom, TopicName},
};

use super::{
    Options,
    broker::{Broker, PARTITIONS},
    messages::{BATCH, Headers, batches, group},
};
use crate::{figure::Figure, pairs::Pairs};

/// How often a run reads the topic, each time in another group.
const PASSES: u32 = 4;

pub(super) async fn measure(broker: &Broker, options: &Options) -> Result<()> {
    let messages = options.messages();
    for headers in Headers::ALL {
        let name = format!("consume, {}", headers.name());
        if !options.wants(&name) {
            continue;
        }
        let topic = fill(broker, messages, headers).await?;
        let mut pairs = Pairs::default();
        for pair in 0..=options.pairs() {
            let (mut ours, mut bare) = (0.0, 0.0);
            for turn in 0..2 {
                if turn == pair % 2 {
                    ours = through_ours(broker, &topic, messages, headers).await?;
                } else {
                    bare = by_hand(broker, &topic, messages, headers).await?;
                }
            }
            if pair > 0 {
                pairs.push(ours, bare);
            }
        }
        Figure::new(broker.kind.name(), &name, "messages/s", &pairs)
            .target(0.9)
            .print(options.json);
        broker.remove(&topic, messages).await?;
    }
    Ok(())
}

/// A topic with so many messages.
pub(super) async fn fill(broker: &Broker, messages: u64, headers: Headers) -> Result<TopicName> {
    let transport = broker.transport().await?;
    let topic = broker.topic(&transport).await?;
    for (partition, batch) in batches(messages, BATCH, headers)? {
        transport.publish(&topic, partition, batch).await?;
    }
    transport.shutdown().await?;
    Ok(topic)
}

async fn through_ours(
    broker: &Broker,
    topic: &TopicName,
    messages: u64,
    headers: Headers,
) -> Result<f64> {
    let transport = broker.transport().await?;
    let (reading, topic) = (transport.clone(), topic.clone());
    let rate = tokio::spawn(async move {
        let mut took = Duration::ZERO;
        // Kept to the end: a member leaves in the background, and the broker would be busy with that meanwhile.
        let mut members = Vec::new();
        for _ in 0..PASSES {
            members.push(reading.subscribe(&group(), &topic, StartFrom::Beginning).await?);
        }
        for member in &mut members {
            let began = Instant::now();
            let mut seen = 0;
            while seen < messages {
                let batch = member.next(BATCH as usize).await?;
                seen += batch.len() as u64;
                let last = batch.last().context("a batch is never empty")?;
                ensure!(last.headers.is_empty() == (headers == Headers::None), "no headers");
                let (partition, offset) = (last.partition, last.offset);
                std::hint::black_box(batch);
                member.acknowledge(partition, offset).await?;
            }
            took += began.elapsed();
        }
        anyhow::Ok(rate_of(messages, took))
    });
    let rate = rate.await??;
    transport.shutdown().await?;
    Ok(rate)
}

/// Reads a message as an event must be: with its headers, where it has some.
fn read(message: &IggyMessage, headers: Headers) -> Result<()> {
    if headers == Headers::Envelope {
        let headers = message.user_headers_map()?.context("headers are missing")?;
        std::hint::black_box(headers);
    }
    std::hint::black_box(&message.payload);
    Ok(())
}

/// What the SDK's polls read, how many a second: as a member of the group, partition by partition. Its consumer, which
/// hands out one message at a time, is slower.
pub(super) async fn by_hand(
    broker: &Broker,
    topic: &TopicName,
    messages: u64,
    headers: Headers,
) -> Result<f64> {
    let (client, topic) = (broker.client().await?, topic.clone());
    let rate = tokio::spawn(async move {
        let (stream, name) =
            (Identifier::named(topic.stream())?, Identifier::named(topic.topic())?);
        let mut took = Duration::ZERO;
        for _ in 0..PASSES {
            let group = client.create_consumer_group(&stream, &name, &group()).await?;
            let group = Identifier::numeric(group.id)?;
            client.join_consumer_group(&stream, &name, &group).await?;
            let member = Consumer::group(group.clone());
            let began = Instant::now();
            let mut seen = 0;
            while seen < messages {
                let before = seen;
                for partition in 0..PARTITIONS {
                    let (next, of) = (PollingStrategy::next(), Some(partition));
                    let polled =
                        client.poll_messages(&stream, &name, of, &member, &next, BATCH, false);
                    let messages = polled.await?.messages;
                    let Some(last) = messages.last().map(|last| last.header.offset) else {
                        continue;
                    };
                    messages.iter().try_for_each(|message| read(message, headers))?;
                    seen += messages.len() as u64;
                    client.store_consumer_offset(&member, &stream, &name, of, last).await?;
                }
                ensure!(seen > before, "{seen} of {messages} came");
            }
            took += began.elapsed();
            client.leave_consumer_group(&stream, &name, &group).await?;
        }
        client.shutdown().await?;
        anyhow::Ok(rate_of(messages, took))
    });
    rate.await?
}

fn rate_of(messages: u64, took: Duration) -> f64 {
    (messages * u64::from(PASSES)) as f64 / took.as_secs_f64()
}
