//! Streams and topics: what there is, by number and by name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use iggy::prelude::{Identifier, IggyError};
use iggy_binary_protocol::{
    WireIdentifier, WireName,
    primitives::partitioning::WirePartitioning,
    responses::streams::{StreamResponse, TopicHeader},
};
use serde::{Deserialize, Serialize};

use super::{groups::Group, partition::Partition};

/// A stream's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StreamRow {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) created_at: u64,
    /// The number its next topic gets.
    pub(super) next_topic: u32,
}

/// A topic's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TopicRow {
    /// Its number in the store, never given twice.
    pub(super) number: u64,
    pub(super) stream: u32,
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) created_at: u64,
    pub(super) partitions: u32,
    pub(super) compression: u8,
    /// Microseconds; the largest number keeps for ever.
    pub(super) expiry: u64,
    /// Bytes; the largest number sets no bound.
    pub(super) max_size: u64,
    pub(super) replication: u8,
    /// The number its next group gets.
    pub(super) next_group: u32,
}

/// A group's row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GroupRow {
    pub(super) id: u32,
    pub(super) name: String,
}

/// A topic. A change of its row makes a new one that shares the rest.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) row: TopicRow,
    pub(super) partitions: Vec<Arc<Partition>>,
    pub(super) groups: Arc<Mutex<BTreeMap<u32, Group>>>,
    /// Counts the sends that leave the partition to the broker.
    pub(super) balanced: Arc<AtomicU32>,
}

impl Topic {
    pub(super) fn groups(&self) -> MutexGuard<'_, BTreeMap<u32, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn partition(&self, id: u32) -> Result<&Arc<Partition>, IggyError> {
        self.partitions.get(id as usize).ok_or_else(|| {
            IggyError::PartitionNotFound(id as usize, number(self.row.id), number(self.row.stream))
        })
    }

    /// Where a send goes.
    pub(super) fn place(
        &self,
        partitioning: &WirePartitioning,
    ) -> Result<&Arc<Partition>, IggyError> {
        if self.partitions.is_empty() {
            return Err(IggyError::NoPartitions(number(self.row.id), number(self.row.stream)));
        }
        let id = match partitioning {
            WirePartitioning::Balanced => {
                self.balanced.fetch_add(1, Ordering::Relaxed) % self.row.partitions
            }
            WirePartitioning::PartitionId(id) => *id,
            WirePartitioning::MessagesKey(key) => crate::partition::of(key, self.row.partitions),
        };
        self.partition(id)
    }

    /// How many bytes and messages it has.
    pub(super) fn size(&self) -> (u64, u64) {
        self.partitions.iter().map(|partition| partition.bounds()).fold(
            (0, 0),
            |sum: (u64, u64), bounds| {
                (sum.0.saturating_add(bounds.bytes), sum.1.saturating_add(bounds.count()))
            },
        )
    }

    pub(super) fn header(&self) -> Result<TopicHeader, IggyError> {
        let (size_bytes, messages_count) = self.size();
        Ok(TopicHeader {
            id: self.row.id,
            created_at: self.row.created_at,
            partitions_count: self.row.partitions,
            message_expiry: self.row.expiry,
            compression_algorithm: self.row.compression,
            max_topic_size: self.row.max_size,
            replication_factor: self.row.replication,
            size_bytes,
            messages_count,
            name: wire_name(&self.row.name)?,
        })
    }
}

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) row: StreamRow,
    pub(super) topics: BTreeMap<u32, Arc<Topic>>,
    pub(super) names: HashMap<String, u32>,
}

impl Stream {
    pub(super) fn new(row: StreamRow) -> Self {
        Self { row, topics: BTreeMap::new(), names: HashMap::new() }
    }

    pub(super) fn header(&self) -> Result<StreamResponse, IggyError> {
        let (size_bytes, messages_count) =
            self.topics.values().map(|topic| topic.size()).fold((0, 0), |sum: (u64, u64), size| {
                (sum.0.saturating_add(size.0), sum.1.saturating_add(size.1))
            });
        Ok(StreamResponse {
            id: self.row.id,
            created_at: self.row.created_at,
            topics_count: u32::try_from(self.topics.len()).unwrap_or(u32::MAX),
            size_bytes,
            messages_count,
            name: wire_name(&self.row.name)?,
        })
    }

    pub(super) fn topic(&self, id: &WireIdentifier) -> Option<&Arc<Topic>> {
        match id {
            WireIdentifier::Numeric(id) => self.topics.get(id),
            WireIdentifier::String(name) => self.topics.get(self.names.get(name.as_str())?),
        }
    }

    /// Puts a topic in place, under its name and no other.
    pub(super) fn set(&mut self, topic: Arc<Topic>) {
        let id = topic.row.id;
        self.names.retain(|_, named| *named != id);
        self.names.insert(topic.row.name.clone(), id);
        self.topics.insert(id, topic);
    }
}

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Topology {
    pub(super) streams: BTreeMap<u32, Stream>,
    names: HashMap<String, u32>,
}

impl Topology {
    pub(super) fn stream(&self, id: &WireIdentifier) -> Result<&Stream, IggyError> {
        self.find(id).ok_or_else(|| IggyError::StreamIdNotFound(identifier(id)))
    }

    pub(super) fn find(&self, id: &WireIdentifier) -> Option<&Stream> {
        match id {
            WireIdentifier::Numeric(id) => self.streams.get(id),
            WireIdentifier::String(name) => self.streams.get(self.names.get(name.as_str())?),
        }
    }

    pub(super) fn topic(
        &self,
        stream: &WireIdentifier,
        topic: &WireIdentifier,
    ) -> Result<&Arc<Topic>, IggyError> {
        self.stream(stream)?
            .topic(topic)
            .ok_or_else(|| IggyError::TopicIdNotFound(identifier(stream), identifier(topic)))
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.streams.values().flat_map(|stream| stream.topics.values())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    pub(super) fn insert(&mut self, stream: Stream) {
        self.names.insert(stream.row.name.clone(), stream.row.id);
        self.streams.insert(stream.row.id, stream);
    }

    pub(super) fn rename(&mut self, id: u32, name: String) {
        if let Some(stream) = self.streams.get_mut(&id) {
            self.names.remove(&stream.row.name);
            self.names.insert(name.clone(), id);
            stream.row.name = name;
        }
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.names.remove(&stream.row.name);
        Some(stream)
    }
}

/// A number as the SDK's errors carry it.
pub(super) fn number(id: u32) -> Identifier {
    // Every number is an identifier; the default stands for none.
    Identifier::numeric(id).unwrap_or_default()
}

/// A number or name as the SDK's errors carry it.
pub(super) fn identifier(id: &WireIdentifier) -> Identifier {
    match id {
        WireIdentifier::Numeric(id) => number(*id),
        WireIdentifier::String(name) => Identifier::named(name.as_str()).unwrap_or_default(),
    }
}

pub(super) fn wire_name(name: &str) -> Result<WireName, IggyError> {
    WireName::new(name).map_err(|_| IggyError::InvalidFormat)
}
