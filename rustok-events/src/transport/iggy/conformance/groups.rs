//! Cases about consumer groups and offsets.

use std::collections::{BTreeMap, BTreeSet};

use iggy::prelude::{
    Client, Consumer, ConsumerGroupClient, ConsumerOffsetClient, Identifier, IggyClient,
    IggyConsumer, IggyError, Partitioning, PollingStrategy,
};

use super::{
    Outcome,
    bench::{Bench, GROUP, Said, TOPIC, message, named, next, number, refused, same, until},
};

async fn store(
    bench: &Bench,
    client: &IggyClient,
    consumer: &Consumer,
    partition: u32,
    offset: u64,
) -> Result<(), IggyError> {
    let (stream, topic) = (bench.stream_id(), named(TOPIC));
    client.store_consumer_offset(consumer, &stream, &topic, Some(partition), offset).await
}

async fn stored(
    bench: &Bench,
    client: &IggyClient,
    consumer: &Consumer,
    partition: u32,
) -> Result<Option<u64>, String> {
    let (stream, topic) = (bench.stream_id(), named(TOPIC));
    let found = client
        .get_consumer_offset(consumer, &stream, &topic, Some(partition))
        .await
        .said("looking")?;
    Ok(found.map(|found| found.stored_offset))
}

/// How many partitions each member has.
async fn shares(bench: &Bench, client: &IggyClient) -> Result<Vec<u32>, String> {
    let (stream, topic) = (bench.stream_id(), named(TOPIC));
    let group = client.get_consumer_group(&stream, &topic, &named(GROUP)).await.said("looking")?;
    let members = group.map(|group| group.members).unwrap_or_default();
    Ok(members.iter().map(|member| member.partitions_count).collect())
}

async fn join(bench: &Bench, client: &IggyClient) -> Outcome {
    let (stream, topic) = (bench.stream_id(), named(TOPIC));
    client.join_consumer_group(&stream, &topic, &named(GROUP)).await.said("joining")
}

async fn create_group(bench: &Bench, client: &IggyClient) -> Outcome {
    let (stream, topic) = (bench.stream_id(), named(TOPIC));
    client.create_consumer_group(&stream, &topic, GROUP).await.map(drop).said("creating the group")
}

async fn done(consumer: &IggyConsumer, offset: u64, partition: u32) -> Outcome {
    consumer.store_offset(offset, Some(partition)).await.said("storing")
}

pub(super) async fn keys_keep_their_order_across_members(bench: &Bench) -> Outcome {
    const KEYS: u64 = 20;
    const EACH: u64 = 25;
    let client = bench.client().await?;
    bench.provision(&client, 4).await?;
    let (first, second) = (bench.client().await?, bench.client().await?);
    let mut members = [bench.member(&first).await?, bench.member(&second).await?];
    for turn in 0..EACH {
        for key in 0..KEYS {
            let place = Partitioning::messages_key_u64(key);
            let mut messages = [message(turn * KEYS + key)?];
            bench.send_all(&client, &place, &mut messages).await.said("sending")?;
        }
    }
    let mut by_key: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let [one, two] = &mut members;
    while (seen.len() as u64) < KEYS * EACH {
        let received = tokio::select! {
            received = next(one) => (received?, true),
            received = next(two) => (received?, false),
        };
        let (received, by_one) = received;
        let number = number(&received.message)?;
        let (offset, partition) = (received.message.header.offset, received.partition_id);
        // One seen before comes again where a partition changed hands; the first time counts.
        if seen.insert(number) {
            by_key.entry(number % KEYS).or_default().push(number / KEYS);
        }
        // A partition that has just changed hands may be refused; its new owner stores for it.
        drop(done(if by_one { one } else { two }, offset, partition).await);
    }
    for (key, turns) in by_key {
        same(&format!("the order of key {key}"), &turns, &(0..EACH).collect())?;
    }
    Ok(())
}

pub(super) async fn a_member_resumes_after_what_was_stored(bench: &Bench) -> Outcome {
    let client = bench.client().await?;
    bench.provision(&client, 1).await?;
    bench.send(&client, 0, 0..10).await?;
    let crashing = bench.client().await?;
    let mut consumer = bench.member(&crashing).await?;
    for expected in 0..6 {
        same("before", &number(&next(&mut consumer).await?.message)?, &expected)?;
    }
    done(&consumer, 3, 0).await?;
    drop(consumer);
    crashing.shutdown().await.said("leaving")?;

    let reading = bench.client().await?;
    let mut consumer = bench.member(&reading).await?;
    for expected in 4..10 {
        same("after", &number(&next(&mut consumer).await?.message)?, &expected)?;
    }
    Ok(())
}

pub(super) async fn what_was_not_stored_comes_again_at_another_member(bench: &Bench) -> Outcome {
    let client = bench.client().await?;
    bench.provision(&client, 2).await?;
    bench.send(&client, 0, 0..10).await?;
    bench.send(&client, 1, 10..20).await?;
    let crashing = bench.client().await?;
    let mut consumer = bench.member(&crashing).await?;
    let mut lost = BTreeSet::new();
    while lost.len() < 20 {
        lost.insert(number(&next(&mut consumer).await?.message)?);
    }
    drop(consumer);
    crashing.shutdown().await.said("leaving")?;
    let reading = bench.client().await?;
    let mut consumer = bench.member(&reading).await?;
    let mut again = BTreeSet::new();
    while again.len() < 20 {
        again.insert(number(&next(&mut consumer).await?.message)?);
    }
    same("what came again", &again, &lost)
}

pub(super) async fn everybody_reads_a_groups_offset_and_members_alone_store_it(
    bench: &Bench,
) -> Outcome {
    let (client, stranger) = (bench.client().await?, bench.client().await?);
    bench.provision(&client, 1).await?;
    bench.send(&client, 0, 0..5).await?;
    create_group(bench, &client).await?;
    join(bench, &client).await?;
    let group = Consumer::group(named(GROUP));
    same("none stored", &stored(bench, &stranger, &group, 0).await?, &None)?;
    refused("a stranger's store", store(bench, &stranger, &group, 0, 1).await, |_| true)?;
    store(bench, &client, &group, 0, 2).await.said("storing")?;
    same("what a stranger reads", &stored(bench, &stranger, &group, 0).await?, &Some(2))?;
    let other = Consumer::group(Identifier::named("other").said("a name")?);
    same("another group", &stored(bench, &client, &other, 0).await?, &None)
}

pub(super) async fn a_member_that_lost_a_partition_cannot_store_there(bench: &Bench) -> Outcome {
    let (one, two) = (bench.client().await?, bench.client().await?);
    bench.provision(&one, 2).await?;
    bench.send(&one, 0, 0..5).await?;
    bench.send(&one, 1, 5..10).await?;
    create_group(bench, &one).await?;
    join(bench, &one).await?;
    let group = Consumer::group(named(GROUP));
    store(bench, &one, &group, 0, 0).await.said("storing")?;
    store(bench, &one, &group, 1, 0).await.said("storing")?;
    join(bench, &two).await?;
    until("each member has one partition", || async { Ok(shares(bench, &one).await? == [1, 1]) })
        .await?;
    let mine = [store(bench, &one, &group, 0, 1).await, store(bench, &one, &group, 1, 1).await];
    let theirs = [store(bench, &two, &group, 0, 1).await, store(bench, &two, &group, 1, 1).await];
    let taken = |stores: &[Result<(), IggyError>]| stores.iter().filter(|s| s.is_ok()).count();
    same("stores of the first that are taken", &taken(&mine), &1)?;
    same("stores of the second that are taken", &taken(&theirs), &1)?;
    same("the same partition twice", &(mine[0].is_ok() == theirs[0].is_ok()), &false)
}

/// Server 0.7.0 takes it. Whoever joins then finds it, and sees that it is ahead.
pub(super) async fn an_offset_ahead_of_the_log_is_refused_or_found_as_it_is(
    bench: &Bench,
) -> Outcome {
    let client = bench.client().await?;
    bench.provision(&client, 1).await?;
    let reader = Consumer::new(named("reader"));
    bench.send(&client, 0, 0..5).await?;
    store(bench, &client, &reader, 0, 4).await.said("storing the last offset")?;
    let expected = match store(bench, &client, &reader, 0, 5).await {
        Ok(()) => 5,
        Err(IggyError::InvalidOffset(_)) => 4,
        Err(error) => return Err(format!("past the end: {error}")),
    };
    let found = stored(bench, &client, &reader, 0).await?;
    same("what is found then", &found, &Some(expected))
}

pub(super) async fn a_plain_client_rewinds(bench: &Bench) -> Outcome {
    let client = bench.client().await?;
    bench.provision(&client, 1).await?;
    bench.send(&client, 0, 0..10).await?;
    let reader = Consumer::new(named("reader"));
    store(bench, &client, &reader, 0, 7).await.said("storing")?;
    let next = async || bench.numbers(&client, 0, PollingStrategy::next(), 1).await;
    same("after 7", &next().await?, &vec![8])?;
    store(bench, &client, &reader, 0, 2).await.said("rewinding")?;
    same("after 2", &next().await?, &vec![3])?;
    let (stream, topic) = (bench.stream_id(), named(TOPIC));
    client.delete_consumer_offset(&reader, &stream, &topic, Some(0)).await.said("deleting")?;
    same("after deleting", &next().await?, &vec![0])
}
