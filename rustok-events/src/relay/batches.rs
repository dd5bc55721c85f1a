//! A page of events as batches: one per partition, order kept within each.

use std::collections::HashMap;

use crate::{
    outbox::StoredEvent,
    partition,
    transport::{OutgoingMessage, TopicName, TopicSpec},
};

/// Events for one partition, in order.
#[derive(Debug)]
pub(super) struct Batch<'e> {
    pub(super) topic: TopicName,
    pub(super) partition: u32,
    pub(super) events: Vec<&'e StoredEvent>,
}

/// The topics that events lie in, each with the count its events declare.
pub(super) fn topics(events: &[&StoredEvent]) -> Vec<TopicSpec> {
    let mut topics: Vec<TopicSpec> = Vec::new();
    for event in events {
        let meta = &event.record.meta;
        let known = topics
            .iter()
            .any(|spec| *spec.name.stream() == *meta.stream && *spec.name.topic() == *meta.topic);
        if !known {
            topics.push(TopicSpec {
                name: event.record.topic(),
                partitions: event.record.partitions,
            });
        }
    }
    topics
}

/// Groups events by partition. `partitions` gives each topic's count.
pub(super) fn group<'e>(
    events: &[&'e StoredEvent],
    partitions: &HashMap<TopicName, u32>,
) -> Vec<Batch<'e>> {
    let mut batches: Vec<Batch<'e>> = Vec::new();
    // By the topic's place in `topics`: no name is copied for an event.
    let mut places: HashMap<(usize, u32), usize> = HashMap::new();
    let mut topics: Vec<(TopicName, u32)> = Vec::new();
    for &event in events {
        let meta = &event.record.meta;
        let known = topics
            .iter()
            .position(|(name, _)| *name.topic() == *meta.topic && *name.stream() == *meta.stream);
        let topic = known.unwrap_or_else(|| {
            let name = event.record.topic();
            let count = partitions.get(&name).copied().unwrap_or(1);
            topics.push((name, count));
            topics.len() - 1
        });
        let count = topics[topic].1;
        // An event without a key goes anywhere; its id spreads it evenly and the same way on every attempt.
        let partition =
            partition::of(meta.key.as_deref().unwrap_or_else(|| meta.id.as_bytes()), count);
        let place = *places.entry((topic, partition)).or_insert_with(|| {
            batches.push(Batch { topic: topics[topic].0.clone(), partition, events: Vec::new() });
            batches.len() - 1
        });
        batches[place].events.push(event);
    }
    batches
}

/// An event as the broker is given it: the stored bytes as they are.
pub(super) fn message(event: &StoredEvent) -> OutgoingMessage {
    OutgoingMessage {
        id: event.record.meta.id,
        headers: event.record.meta.to_wire(),
        payload: event.record.payload.clone(),
    }
}
