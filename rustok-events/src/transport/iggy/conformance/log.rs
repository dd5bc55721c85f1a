//! Cases about messages: what is sent comes back, where it should.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use bytes::Bytes;
use iggy::prelude::{
    Client, Consumer, ConsumerOffsetClient, DirectConfig, HeaderKey, HeaderValue, IggyExpiry,
    IggyMessage, IggyTimestamp, MaxTopicSize, Partitioning, PollingStrategy,
};

use super::{
    Outcome,
    bench::{Bench, Said, TOPIC, message, named, next, number, refused, same},
};

pub(super) async fn the_builders_produce_and_consume(bench: &Bench) -> Outcome {
    let client = bench.client().await?;
    let producer = client
        .producer(&bench.stream, TOPIC)
        .said("a producer")?
        .direct(DirectConfig::builder().batch_length(100).build())
        .create_stream_if_not_exists()
        .create_topic_if_not_exists(4, None, IggyExpiry::NeverExpire, MaxTopicSize::Unlimited)
        .build();
    producer.init().await.said("the producer")?;
    let messages = (0..500).map(message).collect::<Result<Vec<_>, _>>()?;
    producer.send(messages).await.said("sending")?;

    let reading = bench.client().await?;
    let mut consumer = bench.member(&reading).await?;
    let mut seen = Vec::new();
    while seen.len() < 500 {
        let received = next(&mut consumer).await?;
        seen.push(number(&received.message)?);
        consumer
            .store_offset(received.message.header.offset, Some(received.partition_id))
            .await
            .said("storing")?;
    }
    seen.sort_unstable();
    drop(consumer);
    reading.shutdown().await.said("leaving")?;
    same("messages", &seen, &(0..500).collect())
}

pub(super) async fn ids_headers_and_payloads_come_back_as_they_were(bench: &Bench) -> Outcome {
    let client = bench.client().await?;
    bench.provision(&client, 1).await?;
    let long = "v".repeat(255);
    let mut headers = BTreeMap::new();
    for (key, value) in [("ce-id", "1"), ("content-type", "application/json"), ("long", &long)] {
        let key = HeaderKey::try_from(key).said("a header")?;
        headers.insert(key, HeaderValue::from_str(value).said("a header")?);
    }
    let payload = Bytes::from_static(b"\x00\xFF{\"not\": \"only text\"}");
    let sent = IggyMessage::builder()
        .id(0xFEDC_BA98_7654_3210_0123_4567_89AB_CDEF)
        .payload(payload.clone())
        .user_headers(headers.clone())
        .build()
        .said("a message")?;
    let place = Partitioning::partition_id(0);
    bench.send_all(&client, &place, &mut [message(0)?, sent]).await.said("sending")?;
    let found = bench.poll(&client, 0, PollingStrategy::first(), 10).await?;
    same("messages", &found.len(), &2)?;
    same("no headers", &found[0].user_headers, &None)?;
    same("the id", &found[1].header.id, &0xFEDC_BA98_7654_3210_0123_4567_89AB_CDEF)?;
    same("the offset", &found[1].header.offset, &1)?;
    same("the payload", &found[1].payload, &payload)?;
    let map = found[1].user_headers_map().said("reading the headers")?;
    same("the headers", &map, &Some(headers))
}

pub(super) async fn a_big_payload_comes_back_whole(bench: &Bench) -> Outcome {
    let client = bench.client().await?;
    bench.provision(&client, 1).await?;
    let big: Bytes = (0..16_000_000_u32).map(|at| at.to_le_bytes()[0] ^ 0x5A).collect();
    let message = IggyMessage::builder().payload(big.clone()).build().said("a message")?;
    let place = Partitioning::partition_id(0);
    bench.send_all(&client, &place, &mut [message]).await.said("sending")?;
    bench.send(&client, 0, 1..2).await?;
    let found = bench.poll(&client, 0, PollingStrategy::offset(0), 1).await?;
    same("messages", &found.len(), &1)?;
    same("the payload is whole", &(found[0].payload == big), &true)?;
    same("the next", &bench.numbers(&client, 0, PollingStrategy::offset(1), 1).await?, &vec![1])
}

pub(super) async fn empty_and_malformed_messages_are_refused_and_the_client_goes_on(
    bench: &Bench,
) -> Outcome {
    let client = bench.client().await?;
    bench.provision(&client, 1).await?;
    refused("an empty payload", IggyMessage::builder().payload(Bytes::new()).build(), |_| true)?;
    refused("an empty header key", HeaderKey::try_from(""), |_| true)?;
    refused("an empty header value", HeaderValue::from_str(""), |_| true)?;
    let long = "v".repeat(256);
    refused("a header value of 256 bytes", HeaderValue::from_str(&long), |_| true)?;
    // Past the SDK's own checks: a message that says it is longer than it is must not take others along.
    let nowhere = Partitioning::partition_id(7);
    refused(
        "a partition that is not there",
        bench.send_all(&client, &nowhere, &mut [message(0)?]).await,
        |_| true,
    )?;
    bench.send(&client, 0, 0..3).await?;
    same("the log", &bench.numbers(&client, 0, PollingStrategy::first(), 9).await?, &vec![0, 1, 2])
}

pub(super) async fn a_poll_begins_where_it_says(bench: &Bench) -> Outcome {
    let client = bench.client().await?;
    bench.provision(&client, 2).await?;
    let numbers = async |strategy, count| bench.numbers(&client, 0, strategy, count).await;
    same("nothing", &numbers(PollingStrategy::first(), 5).await?, &vec![])?;
    same("nothing", &numbers(PollingStrategy::next(), 5).await?, &vec![])?;
    bench.send(&client, 0, 0..5).await?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let between = IggyTimestamp::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    bench.send(&client, 0, 5..10).await?;
    same("first", &numbers(PollingStrategy::first(), 2).await?, &vec![0, 1])?;
    same("last", &numbers(PollingStrategy::last(), 2).await?, &vec![8, 9])?;
    same("an offset", &numbers(PollingStrategy::offset(4), 3).await?, &vec![4, 5, 6])?;
    same("past the end", &numbers(PollingStrategy::offset(10), 3).await?, &vec![])?;
    same("a time", &numbers(PollingStrategy::timestamp(between), 2).await?, &vec![5, 6])?;
    same("next, none stored", &numbers(PollingStrategy::next(), 2).await?, &vec![0, 1])?;
    same("again", &numbers(PollingStrategy::next(), 2).await?, &vec![0, 1])?;
    let other = bench.numbers(&client, 1, PollingStrategy::first(), 5).await?;
    same("the other partition", &other, &vec![])
}

pub(super) async fn a_key_lies_where_its_hash_says(bench: &Bench) -> Outcome {
    let client = bench.client().await?;
    bench.provision(&client, 8).await?;
    for count in 0..20 {
        let key = format!("customer-{count}");
        let place = Partitioning::messages_key_str(&key).said("a key")?;
        bench.send_all(&client, &place, &mut [message(count)?]).await.said("sending")?;
        let partition = crate::partition::of(key.as_bytes(), 8);
        let last = bench.numbers(&client, partition, PollingStrategy::last(), 1).await?;
        same(&format!("the last on the partition of {key}"), &last, &vec![count])?;
    }
    Ok(())
}

pub(super) async fn a_client_reconnects_and_goes_on(bench: &Bench) -> Outcome {
    let client = bench.client().await?;
    bench.provision(&client, 1).await?;
    bench.send(&client, 0, 0..2).await?;
    client.disconnect().await.said("disconnecting")?;
    client.connect().await.said("connecting again")?;
    bench.send(&client, 0, 2..4).await?;
    let found = bench.numbers(&client, 0, PollingStrategy::first(), 9).await?;
    same("the log", &found, &vec![0, 1, 2, 3])
}

/// Before a restart: a hundred messages on each of two partitions, and an offset.
pub(super) async fn fill(bench: &Bench) -> Outcome {
    let client = bench.client().await?;
    bench.provision(&client, 2).await?;
    bench.send(&client, 0, 0..100).await?;
    bench.send(&client, 1, 100..200).await?;
    let (stream, topic) = (bench.stream_id(), named(TOPIC));
    let reader = Consumer::new(named("reader"));
    client.store_consumer_offset(&reader, &stream, &topic, Some(1), 49).await.said("storing")?;
    client.shutdown().await.said("leaving")
}

/// After it.
pub(super) async fn look(bench: &Bench) -> Outcome {
    let client = bench.client().await?;
    let all = bench.numbers(&client, 0, PollingStrategy::first(), 200).await?;
    same("the log", &all, &(0..100).collect())?;
    let rest = bench.numbers(&client, 1, PollingStrategy::next(), 200).await?;
    same("what comes after the stored offset", &rest, &(150..200).collect())?;
    bench.send(&client, 0, 100..101).await?;
    let last = bench.poll(&client, 0, PollingStrategy::last(), 1).await?;
    same("the next offset", &last.first().map(|message| message.header.offset), &Some(100))
}
