//! A page of events as batches: one per partition, order kept within each.

use std::collections::HashMap;

use bytes::Bytes;

use crate::{
    outbox::StoredEvent,
    partition,
    transport::{OutgoingMessage, TopicName, TopicSpec},
};

/// Events for one partition, in order.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) topic: TopicName,
    pub(super) partition: u32,
    pub(super) messages: Vec<OutgoingMessage>,
}

/// The topics that the events of a page lie in, each with the count its events declare.
pub(super) fn topics<'e>(events: impl Iterator<Item = &'e StoredEvent>) -> Vec<TopicSpec> {
    let mut topics: Vec<TopicSpec> = Vec::new();
    for event in events {
        let meta = &event.record.meta;
        let known = topics
            .iter()
            .any(|spec| spec.name.stream() == meta.stream && spec.name.topic() == meta.topic);
        if !known {
            topics.push(TopicSpec {
                name: TopicName::new(meta.stream.clone(), meta.topic.clone()),
                partitions: event.record.partitions,
            });
        }
    }
    topics
}

/// Groups events by partition. `partitions` gives each topic's count. The payloads are moved out of the events.
pub(super) fn group<'e>(
    events: impl Iterator<Item = &'e mut StoredEvent>,
    partitions: &HashMap<TopicName, u32>,
) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut places: HashMap<(TopicName, u32), usize> = HashMap::new();
    for event in events {
        let meta = &event.record.meta;
        let topic = TopicName::new(meta.stream.clone(), meta.topic.clone());
        let count = partitions.get(&topic).copied().unwrap_or(1);
        // An event without a key goes anywhere; its id spreads it evenly and the same way on every attempt.
        let partition =
            partition::of(meta.key.as_deref().unwrap_or_else(|| meta.id.as_bytes()), count);
        let place = *places.entry((topic.clone(), partition)).or_insert_with(|| {
            batches.push(Batch { topic, partition, messages: Vec::new() });
            batches.len() - 1
        });
        batches[place].messages.push(OutgoingMessage {
            id: meta.id,
            headers: meta.to_wire(),
            payload: Bytes::from(std::mem::take(&mut event.record.payload)),
        });
    }
    batches
}
