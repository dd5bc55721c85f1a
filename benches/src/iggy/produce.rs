//! Producing: one batch after the other, each acknowledged before the next.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use anyhow::Result;
use iggy::prelude::*;
use rustok_events::{
    EventTransport as _,
    transport::{OutgoingMessage, TopicName},
};

use super::{
    Options,
    broker::Broker,
    messages::{BATCH, Headers, batches},
};
use crate::{figure::Figure, pairs::Pairs};

type Batches = Vec<(u32, Vec<OutgoingMessage>)>;

pub(super) async fn measure(broker: &Broker, options: &Options) -> Result<()> {
    for headers in Headers::ALL {
        let name = format!("produce, {}", headers.name());
        if !options.wants(&name) {
            continue;
        }
        let mut pairs = Pairs::default();
        for pair in 0..=options.pairs() {
            let (mut ours, mut bare) = (0.0, 0.0);
            for turn in 0..2 {
                if turn == pair % 2 {
                    ours = through_ours(broker, options.messages(), headers).await?;
                } else {
                    bare = by_hand(broker, options.messages(), headers).await?;
                }
            }
            if pair > 0 {
                pairs.push(ours, bare);
            }
        }
        let figure = Figure::new(broker.kind.name(), &name, "messages/s", &pairs).target(0.9);
        options.print(&figure);
    }
    Ok(())
}

async fn through_ours(broker: &Broker, messages: u64, headers: Headers) -> Result<f64> {
    let transport = broker.transport().await?;
    let topic = broker.topic(&transport).await?;
    let batches = batches(messages, BATCH, headers)?;
    let (sending, to) = (transport.clone(), topic.clone());
    let rate = tokio::spawn(async move {
        let began = Instant::now();
        for (partition, batch) in batches {
            sending.publish(&to, partition, batch).await?;
        }
        anyhow::Ok(messages as f64 / began.elapsed().as_secs_f64())
    });
    let rate = rate.await??;
    transport.shutdown().await?;
    broker.remove(&topic, messages).await?;
    Ok(rate)
}

/// What the SDK does with the same messages, how many a second.
pub(super) async fn by_hand(broker: &Broker, messages: u64, headers: Headers) -> Result<f64> {
    let transport = broker.transport().await?;
    let topic = broker.topic(&transport).await?;
    transport.shutdown().await?;
    let client = broker.client().await?;
    let batches = batches(messages, BATCH, headers)?;
    let producer = producer(&client, &topic).await?;
    let elapsed = tokio::spawn(async move {
        let began = Instant::now();
        send_all(&producer, batches).await?;
        anyhow::Ok(began.elapsed())
    });
    let rate = messages as f64 / elapsed.await??.as_secs_f64();
    client.shutdown().await?;
    broker.remove(&topic, messages).await?;
    Ok(rate)
}

/// The SDK's producer, in direct mode.
pub(super) async fn producer(client: &IggyClient, topic: &TopicName) -> Result<IggyProducer> {
    let producer = client
        .producer(topic.stream(), topic.topic())?
        .direct(DirectConfig::builder().batch_length(BATCH).build())
        .build();
    producer.init().await?;
    Ok(producer)
}

async fn send_all(producer: &IggyProducer, batches: Batches) -> Result<()> {
    for (partition, batch) in batches {
        let messages = batch.into_iter().map(message).collect::<Result<Vec<_>>>()?;
        let place = Arc::new(Partitioning::partition_id(partition));
        producer.send_with_partitioning(messages, Some(place)).await?;
    }
    Ok(())
}

/// The SDK's message of one of ours.
pub(super) fn message(message: OutgoingMessage) -> Result<IggyMessage> {
    let id = message.id.as_uuid().as_u128();
    let built = IggyMessage::builder().id(id).payload(message.payload);
    if message.headers.is_empty() {
        return Ok(built.build()?);
    }
    let mut headers = BTreeMap::new();
    for (name, value) in message.headers.iter() {
        let value = HeaderValue::try_from(std::str::from_utf8(value)?)?;
        headers.insert(HeaderKey::try_from(name)?, value);
    }
    Ok(built.user_headers(headers).build()?)
}
