//! Messages: send and poll.

use std::sync::Arc;

use bytes::BytesMut;
use iggy::prelude::IggyError;
use iggy_binary_protocol::{
    primitives::polling_strategy::WirePollingStrategy,
    requests::messages::{FlushUnsavedBufferRequest, PollMessagesRequest},
    responses::messages::poll_messages::PollMessagesResponseHeader,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{Outcome, groups, offsets};
use crate::transport::iggy::embedded::{
    batch::Batch,
    broker::Broker,
    frame::{self, Reply, SMALL},
    partition::{Found, Partition, Reader},
    session::{Session, now},
    store::Work,
    topology::{Topic, identifier, number},
};

const OFFSET: u8 = 1;
const TIMESTAMP: u8 = 2;
const FIRST: u8 = 3;
const LAST: u8 = 4;
const NEXT: u8 = 5;

pub(super) async fn send(broker: &Broker, body: BytesMut) -> Outcome {
    let (header, batch) = Batch::decode(body)?;
    let partition = {
        let topology = broker.topology();
        let topic = topology.topic(&header.stream_id, &header.topic_id)?;
        Arc::clone(topic.place(&header.partitioning)?)
    };
    broker.store.submit(Work::Append { partition, batch }).await?;
    Ok(Reply::Empty)
}

pub(super) async fn flush(broker: &Broker, request: &FlushUnsavedBufferRequest) -> Outcome {
    broker
        .topology()
        .topic(&request.stream_id, &request.topic_id)?
        .partition(request.partition_id)?;
    if request.fsync {
        broker.store.submit(Work::Sync).await?;
    }
    Ok(Reply::Empty)
}

pub(super) async fn poll(
    broker: &Broker,
    session: &Session,
    request: PollMessagesRequest,
) -> Outcome {
    let topic = Arc::clone(broker.topology().topic(&request.stream_id, &request.topic_id)?);
    let Some((reader, partition)) = turn(&topic, session, &request)? else {
        // A member that owns nothing just now.
        let head =
            PollMessagesResponseHeader { partition_id: 0, current_offset: 0, messages_count: 0 };
        return Ok(Reply::Messages { head, parts: Vec::new(), room: None });
    };
    let (found, room) = match begin(broker, &partition, &reader, &request).await? {
        Some(offset) => read(broker, &partition, offset, request.count).await?,
        None => (Found::default(), None),
    };
    if let Some(last) = found.last {
        if let Reader::Group(id) = reader
            && let Some(group) = topic.groups().get_mut(&id)
        {
            group.handed_out(partition.id, last);
        }
        if request.auto_commit {
            offsets::set(broker, &partition, reader, last).await?;
        }
    }
    let head = PollMessagesResponseHeader {
        partition_id: partition.id,
        current_offset: partition.bounds().current(),
        messages_count: found.count,
    };
    Ok(Reply::Messages { head, parts: found.parts, room })
}

/// Who polls, and which partition's turn it is; `None` if the member owns none.
fn turn(
    topic: &Topic,
    session: &Session,
    request: &PollMessagesRequest,
) -> Result<Option<(Reader, Arc<Partition>)>, IggyError> {
    if request.consumer.kind != offsets::GROUP {
        let partition = topic.partition(request.partition_id.unwrap_or(0))?;
        return Ok(Some((offsets::consumer(&request.consumer.id), Arc::clone(partition))));
    }
    let mut all = topic.groups();
    let group = groups::find(&mut all, &request.consumer.id)
        .ok_or_else(|| groups::missing(topic, &request.consumer.id))?;
    group.settle(now(), groups::stored(topic, group.id));
    let client = session.client;
    if group.member(client).is_none() {
        return Err(IggyError::ConsumerGroupMemberNotFound(
            client,
            identifier(&request.consumer.id),
            number(topic.row.id),
        ));
    }
    let reader = Reader::Group(group.id);
    if let Some(partition) = request.partition_id {
        let owned = group.owns(client, partition);
        let partition = Arc::clone(topic.partition(partition)?);
        return Ok(owned.then_some((reader, partition)));
    }
    let turns = group.turns(client);
    // Where the group goes on from what it stored, partitions without news lose their turn: a member with many
    // partitions is not slowed down by the idle ones.
    let news = |partition: u32| {
        topic.partitions.get(partition as usize).is_some_and(|partition| {
            partition.bounds().next > partition.offset(&reader).map_or(0, |stored| stored + 1)
        })
    };
    let taken = if group.looks_ahead() && request.strategy.kind == NEXT {
        turns.iter().position(|partition| news(*partition)).unwrap_or(0)
    } else {
        0
    };
    let Some(partition) = turns.get(taken) else { return Ok(None) };
    group.advance(client, taken);
    Ok(Some((reader, Arc::clone(topic.partition(*partition)?))))
}

/// Where to begin; `None` if there is nothing there.
async fn begin(
    broker: &Broker,
    partition: &Arc<Partition>,
    reader: &Reader,
    request: &PollMessagesRequest,
) -> Result<Option<u64>, IggyError> {
    let bounds = partition.bounds();
    let WirePollingStrategy { kind, value } = request.strategy;
    let offset = match kind {
        OFFSET => value,
        TIMESTAMP => match at_time(broker, partition, value).await? {
            Some(offset) => offset,
            None => return Ok(None),
        },
        FIRST => bounds.first,
        LAST => bounds.next.saturating_sub(u64::from(request.count)),
        NEXT => partition.offset(reader).map_or(bounds.first, |stored| stored.saturating_add(1)),
        _ => return Err(IggyError::InvalidCommand),
    };
    let offset = offset.max(bounds.first);
    Ok((offset < bounds.next && request.count > 0).then_some(offset))
}

async fn at_time(
    broker: &Broker,
    partition: &Arc<Partition>,
    timestamp: u64,
) -> Result<Option<u64>, IggyError> {
    let (offset, known) = partition.at_time(timestamp);
    match broker.store.disk() {
        Some(disk) if !known => {
            let (disk, partition) = (Arc::clone(disk), Arc::clone(partition));
            blocking(move || disk.at_time(&partition, timestamp)).await
        }
        _ => Ok(offset),
    }
}

/// The messages from `offset` on, and the room their bytes take until they are written to the client. In memory they
/// take none: the broker has them anyway.
async fn read(
    broker: &Broker,
    partition: &Arc<Partition>,
    offset: u64,
    count: u32,
) -> Result<(Found, Option<OwnedSemaphorePermit>), IggyError> {
    let bytes = broker.config.max_poll;
    // Not past what is shown: what is being stored may be on the disk already.
    let shown = partition.bounds().next - offset;
    let count = count.min(u32::try_from(shown).unwrap_or(u32::MAX));
    let at_hand = partition.read(offset, count, bytes);
    let Some(disk) = broker.store.disk() else {
        // Nothing if it was trimmed since we looked where it begins.
        return Ok((at_hand.unwrap_or_default(), None));
    };
    if let Some(found) = at_hand {
        let room = match found.bytes {
            small if small <= SMALL => None,
            large => Some(room(broker, large).await?),
        };
        return Ok((found, room));
    }
    let mut room = room(broker, bytes).await?;
    let (disk, partition) = (Arc::clone(disk), Arc::clone(partition));
    let found = blocking(move || disk.read(&partition, offset, count, bytes)).await?;
    drop(room.split(room.num_permits().saturating_sub(found.bytes)));
    Ok((found, Some(room)))
}

async fn room(broker: &Broker, bytes: usize) -> Result<OwnedSemaphorePermit, IggyError> {
    frame::room(&broker.outgoing, bytes).await.map_err(|_| IggyError::CannotReadMessage)
}

/// Reads the disk away from the runtime's own threads.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, IggyError> + Send + 'static,
) -> Result<T, IggyError> {
    tokio::task::spawn_blocking(read).await.map_err(|_| IggyError::CannotReadMessage)?
}
