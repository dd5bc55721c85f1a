//! Topics and their partitions: make, find, change, empty, remove.

use std::sync::{Arc, atomic::Ordering};

use iggy::prelude::IggyError;
use iggy_binary_protocol::{
    MAX_PARTITIONS_PER_REQUEST,
    requests::{
        partitions::{CreatePartitionsRequest, DeletePartitionsRequest},
        topics::{
            CreateTopicRequest, DeleteTopicRequest, GetTopicRequest, GetTopicsRequest,
            PurgeTopicRequest, UpdateTopicRequest,
        },
    },
    responses::topics::{GetTopicResponse, GetTopicsResponse, PartitionResponse},
};

use super::Outcome;
use crate::transport::iggy::embedded::{
    broker::{Broker, MAX_PARTITIONS, put, put_topic},
    frame::Reply,
    partition::{Bounds, Partition},
    retention,
    session::now,
    store::{
        Change, Space, Trim, group_key, partition_prefix, stream_key, topic_key, topic_prefix,
    },
    topology::{Topic, TopicRow, number},
};

fn describe(topic: &Topic) -> Outcome {
    let partitions = topic
        .partitions
        .iter()
        .map(|partition| {
            let bounds = partition.bounds();
            PartitionResponse {
                id: partition.id,
                created_at: partition.created_at,
                segments_count: 1,
                current_offset: bounds.current(),
                size_bytes: bounds.bytes,
                messages_count: bounds.count(),
            }
        })
        .collect();
    Ok(Reply::body(&GetTopicResponse { topic: topic.header()?, partitions }))
}

pub(super) fn get(broker: &Broker, request: &GetTopicRequest) -> Outcome {
    let topology = broker.topology();
    let topic = topology.find(&request.stream_id).and_then(|s| s.topic(&request.topic_id));
    topic.map_or(Ok(Reply::Empty), |topic| describe(topic))
}

pub(super) fn list(broker: &Broker, request: &GetTopicsRequest) -> Outcome {
    let topology = broker.topology();
    let Some(stream) = topology.find(&request.stream_id) else { return Ok(Reply::Empty) };
    let topics = stream.topics.values().map(|topic| topic.header()).collect::<Result<_, _>>()?;
    Ok(Reply::body(&GetTopicsResponse { topics }))
}

/// The time to keep messages, where 0 asks for the broker's default.
fn expiry(broker: &Broker, asked: u64) -> u64 {
    match (asked, broker.config.default_retention.max_age) {
        (0, Some(age)) => u64::try_from(age.as_micros()).unwrap_or(u64::MAX),
        (0, None) => u64::MAX,
        (asked, _) => asked,
    }
}

/// The size of a topic, where 0 asks for the broker's default.
fn max_size(broker: &Broker, asked: u64) -> u64 {
    match asked {
        0 => broker.config.default_retention.max_bytes.unwrap_or(u64::MAX),
        asked => asked,
    }
}

pub(super) async fn create(broker: &Broker, request: &CreateTopicRequest) -> Outcome {
    if request.partitions_count > MAX_PARTITIONS_PER_REQUEST {
        return Err(IggyError::TooManyPartitions);
    }
    let mut counters = broker.counters.lock().await;
    let name = request.name.as_str().to_owned();
    let mut stream = {
        let topology = broker.topology();
        let stream = topology.stream(&request.stream_id)?;
        if stream.names.contains_key(&name) {
            return Err(IggyError::TopicNameAlreadyExists(name, number(stream.row.id)));
        }
        stream.row.clone()
    };
    let mut next = counters.clone();
    let row = TopicRow {
        number: next.next_topic,
        stream: stream.id,
        id: stream.next_topic,
        name,
        created_at: now(),
        partitions: request.partitions_count,
        compression: request.compression_algorithm,
        expiry: expiry(broker, request.message_expiry),
        max_size: max_size(broker, request.max_topic_size),
        replication: request.replication_factor.max(1),
        next_group: 1,
    };
    next.next_topic += 1;
    stream.next_topic += 1;
    broker.change(vec![put_topic(&row), put(stream_key(stream.id), &stream), next.row()]).await?;
    *counters = next;

    let partitions = (0..row.partitions)
        .map(|id| Arc::new(Partition::new(row.number, id, row.created_at, Bounds::default())))
        .collect();
    let topic =
        Arc::new(Topic { row, partitions, groups: Arc::default(), balanced: Arc::default() });
    if let Some(known) = broker.topology_mut().streams.get_mut(&stream.id) {
        known.row.next_topic = stream.next_topic;
        known.set(Arc::clone(&topic));
    }
    describe(&topic)
}

pub(super) async fn update(broker: &Broker, request: &UpdateTopicRequest) -> Outcome {
    let _counters = broker.counters.lock().await;
    let mut topic = {
        let topology = broker.topology();
        let stream = topology.stream(&request.stream_id)?;
        let topic = topology.topic(&request.stream_id, &request.topic_id)?;
        let name = request.name.as_str();
        if stream.names.get(name).is_some_and(|named| *named != topic.row.id) {
            return Err(IggyError::TopicNameAlreadyExists(name.to_owned(), number(stream.row.id)));
        }
        Topic::clone(topic)
    };
    request.name.as_str().clone_into(&mut topic.row.name);
    topic.row.compression = request.compression_algorithm;
    topic.row.expiry = expiry(broker, request.message_expiry);
    topic.row.max_size = max_size(broker, request.max_topic_size);
    topic.row.replication = request.replication_factor.max(1);
    replace(broker, topic).await
}

/// Stores a changed topic and puts it in place.
pub(super) async fn replace(broker: &Broker, topic: Topic) -> Outcome {
    broker.change(vec![put_topic(&topic.row)]).await?;
    if let Some(stream) = broker.topology_mut().streams.get_mut(&topic.row.stream) {
        stream.set(Arc::new(topic));
    }
    Ok(Reply::Empty)
}

/// The removal of a topic's rows of metadata.
pub(super) fn removal(topic: &Topic) -> Vec<Change> {
    let number = topic.row.number;
    let groups = topic.groups();
    let mut changes: Vec<Change> =
        groups.keys().map(|id| Change::Remove(Space::Meta, group_key(number, *id))).collect();
    changes.push(Change::Remove(Space::Meta, topic_key(number)));
    changes
}

/// Ends a topic that is no longer known: nothing is appended any more, and what is left goes in the background.
pub(super) fn bury(broker: &Broker, topic: &Topic) {
    for partition in &topic.partitions {
        partition.close(broker.store.tails());
    }
    topic.groups().clear();
    if broker.store.disk().is_some() {
        broker.remove_later(topic_prefix(topic.row.number));
    }
}

pub(super) async fn delete(broker: &Broker, request: &DeleteTopicRequest) -> Outcome {
    let _counters = broker.counters.lock().await;
    let topic = Arc::clone(broker.topology().topic(&request.stream_id, &request.topic_id)?);
    broker.change(removal(&topic)).await?;
    if let Some(stream) = broker.topology_mut().streams.get_mut(&topic.row.stream) {
        stream.topics.remove(&topic.row.id);
        stream.names.remove(&topic.row.name);
    }
    bury(broker, &topic);
    Ok(Reply::Empty)
}

/// Removes a topic's messages. Offsets go on from where they were, and stored ones stay.
pub(super) async fn empty(broker: &Broker, topic: &Topic) -> Result<(), IggyError> {
    for partition in &topic.partitions {
        retention::trim(broker, partition, Trim::All).await?;
    }
    Ok(())
}

pub(super) async fn purge(broker: &Broker, request: &PurgeTopicRequest) -> Outcome {
    let topic = Arc::clone(broker.topology().topic(&request.stream_id, &request.topic_id)?);
    empty(broker, &topic).await?;
    Ok(Reply::Empty)
}

pub(super) async fn add_partitions(broker: &Broker, request: &CreatePartitionsRequest) -> Outcome {
    if !(1..=MAX_PARTITIONS_PER_REQUEST).contains(&request.partitions_count) {
        return Err(IggyError::TooManyPartitions);
    }
    let _counters = broker.counters.lock().await;
    let mut topic =
        Topic::clone(broker.topology().topic(&request.stream_id, &request.topic_id)?.as_ref());
    let created = now();
    let old = topic.row.partitions;
    topic.row.partitions = old.saturating_add(request.partitions_count);
    if topic.row.partitions > MAX_PARTITIONS {
        return Err(IggyError::TooManyPartitions);
    }
    topic.partitions.extend(
        (old..topic.row.partitions)
            .map(|id| Arc::new(Partition::new(topic.row.number, id, created, Bounds::default()))),
    );
    let groups = Arc::clone(&topic.groups);
    let partitions = topic.row.partitions;
    replace(broker, topic).await?;
    resize(&groups, partitions);
    Ok(Reply::Empty)
}

pub(super) async fn drop_partitions(broker: &Broker, request: &DeletePartitionsRequest) -> Outcome {
    let _counters = broker.counters.lock().await;
    let mut topic =
        Topic::clone(broker.topology().topic(&request.stream_id, &request.topic_id)?.as_ref());
    let left = topic
        .row
        .partitions
        .checked_sub(request.partitions_count)
        .filter(|_| request.partitions_count > 0)
        .ok_or(IggyError::InvalidPartitionsCount)?;
    let doomed = topic.partitions.split_off(left as usize);
    for partition in &doomed {
        partition.close(broker.store.tails());
        // Gone before the topic is smaller: a partition of the same number made later must find nothing.
        retention::purge(broker, partition_prefix(topic.row.number, partition.id)).await?;
    }
    topic.row.partitions = left;
    topic.balanced.store(0, Ordering::Relaxed);
    let groups = Arc::clone(&topic.groups);
    replace(broker, topic).await?;
    resize(&groups, left);
    Ok(Reply::Empty)
}

type Groups = std::sync::Mutex<
    std::collections::BTreeMap<u32, crate::transport::iggy::embedded::groups::Group>,
>;

fn resize(groups: &Groups, partitions: u32) {
    let mut groups = groups.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    groups.values_mut().for_each(|group| group.resize(partitions));
}
