//! Cases about streams, topics and the log-in.

use iggy::prelude::{
    Client, ConsumerGroupClient, IggyError, Partitioning, StreamClient, TopicClient,
};

use super::{
    Outcome,
    bench::{Bench, GROUP, Said, TOPIC, message, named, refused, same},
};

pub(super) async fn a_topic_is_created_and_found_with_its_partition_count(
    bench: &Bench,
) -> Outcome {
    let client = bench.client().await?;
    let (stream, topic) = (bench.stream_id(), named(TOPIC));
    same("no stream yet", &client.get_stream(&stream).await.said("looking")?.is_none(), &true)?;
    bench.provision(&client, 3).await?;
    let found = client.get_topic(&stream, &topic).await.said("looking")?;
    let found = found.ok_or("the topic is not found")?;
    // A second declaration with another count must be able to see the difference.
    same("partitions", &found.partitions_count, &3)?;
    let ids: Vec<u32> = found.partitions.iter().map(|partition| partition.id).collect();
    same("partition numbers", &ids, &vec![0, 1, 2])?;
    refused("a second topic of the name", bench.create_topic(&client, 5).await, |error| {
        matches!(error, IggyError::TopicNameAlreadyExists(..))
    })?;
    refused("a second stream of the name", client.create_stream(&bench.stream).await, |error| {
        matches!(error, IggyError::StreamNameAlreadyExists(_))
    })?;
    let found = client.get_topic(&stream, &topic).await.said("looking")?;
    same("partitions after that", &found.map(|topic| topic.partitions_count), &Some(3))
}

pub(super) async fn what_is_not_there_is_named(bench: &Bench) -> Outcome {
    let client = bench.client().await?;
    let place = Partitioning::partition_id(0);
    let sent = bench.send_all(&client, &place, &mut [message(0)?]).await;
    refused("a send to no stream", sent, |error| {
        matches!(error, IggyError::StreamIdNotFound(_) | IggyError::StreamNameNotFound(_))
    })?;
    client.create_stream(&bench.stream).await.said("creating the stream")?;
    let sent = bench.send_all(&client, &place, &mut [message(0)?]).await;
    refused("a send to no topic", sent, |error| {
        matches!(error, IggyError::TopicIdNotFound(..) | IggyError::TopicNameNotFound(..))
    })?;
    bench.create_topic(&client, 1).await.said("creating the topic")?;
    let (stream, topic) = (bench.stream_id(), named(TOPIC));
    let group = client.get_consumer_group(&stream, &topic, &named(GROUP)).await.said("looking")?;
    same("no group yet", &group.is_none(), &true)?;
    let joined = client.join_consumer_group(&stream, &topic, &named(GROUP)).await;
    refused("joining no group", joined, |_| true)
}

pub(super) async fn two_creators_at_once_end_with_one_topic(bench: &Bench) -> Outcome {
    let (one, two) = (bench.client().await?, bench.client().await?);
    let (first, second) =
        tokio::join!(one.create_stream(&bench.stream), two.create_stream(&bench.stream));
    same("streams created", &usize::from(first.is_ok()).wrapping_add(second.is_ok().into()), &1)?;
    let (first, second) = tokio::join!(bench.create_topic(&one, 4), bench.create_topic(&two, 4));
    let late = match (first, second) {
        (Ok(()), late @ Err(_)) | (late @ Err(_), Ok(())) => late,
        both => return Err(format!("one of two creators wins, but {both:?}")),
    };
    refused("the later creator", late, |error| {
        matches!(error, IggyError::TopicNameAlreadyExists(..))
    })?;
    let found = one.get_topics(&bench.stream_id()).await.said("looking")?;
    same("topics", &found.len(), &1)?;
    same("partitions", &found[0].partitions_count, &4)
}

pub(super) async fn a_wrong_password_is_refused(bench: &Bench) -> Outcome {
    let client = bench.unconnected("not-the-password")?;
    refused("a wrong password", client.connect().await, |error| {
        matches!(error, IggyError::InvalidCredentials | IggyError::Unauthenticated)
    })
}
