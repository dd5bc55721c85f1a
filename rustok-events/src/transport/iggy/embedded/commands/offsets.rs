//! Stored offsets. One lower than the last is stored as well, as the real server does; the SDK's high-level consumer
//! keeps such a store to itself unless it was told to allow a replay.

use std::sync::Arc;

use bytes::Bytes;
use iggy::prelude::IggyError;
use iggy_binary_protocol::{
    WireIdentifier,
    primitives::consumer::WireConsumer,
    requests::consumer_offsets::{
        DeleteConsumerOffsetRequest, GetConsumerOffsetRequest, StoreConsumerOffsetRequest,
    },
    responses::consumer_offsets::ConsumerOffsetResponse,
};

use super::{Outcome, groups};
use crate::transport::iggy::embedded::{
    broker::Broker,
    frame::Reply,
    partition::{Partition, Reader},
    session::{Session, now},
    store::{Change, Space, Work, offset_key},
    topology::{Topic, identifier, number},
};

/// The kind of a group among consumers.
pub(super) const GROUP: u8 = 2;

/// A consumer that is no group.
pub(super) fn consumer(id: &WireIdentifier) -> Reader {
    match id {
        WireIdentifier::Numeric(id) => Reader::Number(*id),
        WireIdentifier::String(name) => Reader::Name(name.as_str().to_owned()),
    }
}

/// Whose offset it is and on which partition, for one who may change it: of a group only its members, on the
/// partitions they own.
fn owned(
    topic: &Topic,
    session: &Session,
    wanted: &WireConsumer,
    partition: Option<u32>,
) -> Result<(Reader, Arc<Partition>), IggyError> {
    if wanted.kind != GROUP {
        let partition = topic.partition(partition.unwrap_or(0))?;
        return Ok((consumer(&wanted.id), Arc::clone(partition)));
    }
    let mut all = topic.groups();
    let group =
        groups::find(&mut all, &wanted.id).ok_or_else(|| groups::missing(topic, &wanted.id))?;
    group.settle(now(), groups::stored(topic, group.id));
    if group.member(session.client).is_none() {
        return Err(IggyError::ConsumerGroupMemberNotFound(
            session.client,
            identifier(&wanted.id),
            number(topic.row.id),
        ));
    }
    let partition = partition
        .or_else(|| group.turns(session.client).first().copied())
        .filter(|partition| group.owns(session.client, *partition))
        .ok_or_else(|| IggyError::NotResolvedConsumer(identifier(&wanted.id)))?;
    Ok((Reader::Group(group.id), Arc::clone(topic.partition(partition)?)))
}

pub(super) fn get(broker: &Broker, request: &GetConsumerOffsetRequest) -> Reply {
    let topology = broker.topology();
    let Ok(topic) = topology.topic(&request.stream_id, &request.topic_id) else {
        return Reply::Empty;
    };
    // Everybody may look: the offset is the group's, not a member's.
    let reader = if request.consumer.kind == GROUP {
        match groups::find(&mut topic.groups(), &request.consumer.id) {
            Some(group) => Reader::Group(group.id),
            None => return Reply::Empty,
        }
    } else {
        consumer(&request.consumer.id)
    };
    let Ok(partition) = topic.partition(request.partition_id.unwrap_or(0)) else {
        return Reply::Empty;
    };
    partition.offset(&reader).map_or(Reply::Empty, |stored_offset| {
        Reply::body(&ConsumerOffsetResponse {
            partition_id: partition.id,
            current_offset: partition.bounds().current(),
            stored_offset,
        })
    })
}

pub(super) async fn store(
    broker: &Broker,
    session: &Session,
    request: StoreConsumerOffsetRequest,
) -> Outcome {
    let topic = Arc::clone(broker.topology().topic(&request.stream_id, &request.topic_id)?);
    let (reader, partition) = owned(&topic, session, &request.consumer, request.partition_id)?;
    // Nothing was ever appended that far.
    if request.offset >= partition.bounds().next {
        return Err(IggyError::InvalidOffset(request.offset));
    }
    let group = match reader {
        Reader::Group(id) => Some(id),
        _ => None,
    };
    set(broker, &partition, reader, request.offset).await?;
    if let Some(id) = group
        && let Some(group) = topic.groups().get_mut(&id)
    {
        group.settle(now(), groups::stored(&topic, id));
    }
    Ok(Reply::Empty)
}

/// Stores an offset.
pub(super) async fn set(
    broker: &Broker,
    partition: &Arc<Partition>,
    reader: Reader,
    offset: u64,
) -> Result<(), IggyError> {
    let key = offset_key(partition.topic, partition.id, &reader);
    let row = Bytes::copy_from_slice(&offset.to_le_bytes());
    let partition = Arc::clone(partition);
    let then = Box::new(move || partition.set_offset(reader, offset));
    let changes = vec![Change::Put(Space::Offsets, key, row)];
    broker.store.submit(Work::Apply { changes, then }).await.map(drop)
}

pub(super) async fn delete(
    broker: &Broker,
    session: &Session,
    request: DeleteConsumerOffsetRequest,
) -> Outcome {
    let topic = Arc::clone(broker.topology().topic(&request.stream_id, &request.topic_id)?);
    let (reader, partition) = owned(&topic, session, &request.consumer, request.partition_id)?;
    if partition.offset(&reader).is_none() {
        let id = request.consumer.id.as_u32().unwrap_or(0);
        return Err(IggyError::ConsumerOffsetNotFound(id as usize));
    }
    let key = offset_key(partition.topic, partition.id, &reader);
    let then = Box::new(move || {
        partition.remove_offset(&reader);
    });
    let changes = vec![Change::Remove(Space::Offsets, key)];
    broker.store.submit(Work::Apply { changes, then }).await?;
    Ok(Reply::Empty)
}
