//! What the connections of one broker share.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use iggy::prelude::IggyError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc};

use super::{
    BrokerConfig, BrokerError,
    groups::Group,
    partition::{Bounds, Partition, Reader},
    session::{Client, Session, now},
    store::{Change, Disk, Loaded, Space, Store, Work, topic_key, topic_prefix},
    tokens::{TokenRow, Tokens},
    topology::{GroupRow, Stream, StreamRow, Topic, TopicRow, Topology},
};
use crate::BoxError;

/// How many bytes of requests, and of answers read from the disk, may be in memory at once, over all connections.
pub(super) const BUDGET: usize = 256 * 1024 * 1024;
/// The layout of the data; a broker refuses data of a later one.
const FORMAT: u32 = 1;
const COUNTERS: &[u8] = b"counters";
/// How many partitions a topic has at most.
pub(super) const MAX_PARTITIONS: u32 = 10_000;

/// The numbers that are given next. Never given twice, also not after a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Counters {
    format: u32,
    pub(super) next_stream: u32,
    pub(super) next_topic: u64,
}

/// A broker.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) config: BrokerConfig,
    pub(super) address: SocketAddr,
    pub(super) started_at: u64,
    pub(super) store: Store,
    /// Held through a change of streams, topics and groups: one at a time.
    pub(super) counters: AsyncMutex<Counters>,
    /// Bytes of requests that may still be taken into memory.
    pub(super) incoming: Arc<Semaphore>,
    /// Bytes of answers that may still be.
    pub(super) outgoing: Arc<Semaphore>,
    topology: RwLock<Topology>,
    tokens: Mutex<Tokens>,
    clients: Mutex<BTreeMap<u32, Client>>,
    next_client: AtomicU32,
    /// Rows to remove when there is time, by what they begin with.
    remains: mpsc::UnboundedSender<Vec<u8>>,
}

impl Broker {
    /// Opens the store and reads what it has, but no message. Blocks. Also gives what is to be removed.
    pub(super) fn open(
        config: BrokerConfig,
        address: SocketAddr,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Vec<u8>>), BrokerError> {
        let (store, Restored { counters, topology, tokens }) = match &config.data_dir {
            None => (Store::Memory, Restored::default()),
            Some(path) => {
                let storage =
                    |source: BoxError| BrokerError::Storage { path: path.clone(), source };
                let disk = Disk::open(path, config.sync)?;
                let loaded = disk.load().map_err(storage)?;
                let restored = restore(&loaded, &config).map_err(storage)?;
                let store = Store::on_disk(disk, config.sync)
                    .map_err(|source| BrokerError::DataDir { path: path.clone(), source })?;
                (store, restored)
            }
        };
        let (remains, left) = mpsc::unbounded_channel();
        let broker = Self {
            config,
            address,
            started_at: now(),
            store,
            counters: AsyncMutex::new(counters),
            incoming: Arc::new(Semaphore::new(BUDGET)),
            outgoing: Arc::new(Semaphore::new(BUDGET)),
            topology: RwLock::new(topology),
            tokens: Mutex::new(tokens),
            clients: Mutex::default(),
            next_client: AtomicU32::new(1),
            remains,
        };
        broker.find_orphans();
        Ok((broker, left))
    }

    /// Has the rows of topics removed that were deleted shortly before a crash.
    fn find_orphans(&self) {
        let Some(disk) = self.store.disk() else { return };
        match disk.topics() {
            Ok(topics) => {
                let live: Vec<u64> = self.topology().topics().map(|t| t.row.number).collect();
                for topic in topics.into_iter().filter(|topic| !live.contains(topic)) {
                    self.remove_later(topic_prefix(topic));
                }
            }
            Err(error) => tracing::warn!(%error, "the embedded broker cannot look for remains"),
        }
    }

    pub(super) fn topology(&self) -> RwLockReadGuard<'_, Topology> {
        self.topology.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn topology_mut(&self) -> RwLockWriteGuard<'_, Topology> {
        self.topology.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clients(&self) -> MutexGuard<'_, BTreeMap<u32, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has rows removed in the background.
    pub(super) fn remove_later(&self, prefix: Vec<u8>) {
        // The receiver lives as long as the broker serves; afterwards the next start finds the rows.
        drop(self.remains.send(prefix));
    }

    /// Stores rows of metadata.
    pub(super) async fn change(&self, changes: Vec<Change>) -> Result<(), IggyError> {
        self.store.submit(Work::Apply { changes, then: Box::new(|| {}) }).await.map(drop)
    }

    pub(super) fn connect(&self, address: SocketAddr) -> Session {
        let client = self.next_client.fetch_add(1, Ordering::Relaxed);
        let entry = Client { address, logged_in: false, groups: Vec::new() };
        self.clients().insert(client, entry);
        Session { client, address, logged_in: false }
    }

    pub(super) fn log_in(&self, session: &mut Session) {
        session.logged_in = true;
        if let Some(client) = self.clients().get_mut(&session.client) {
            client.logged_in = true;
        }
    }

    pub(super) fn log_out(&self, session: &mut Session) {
        session.logged_in = false;
        let groups = match self.clients().get_mut(&session.client) {
            Some(client) => {
                client.logged_in = false;
                std::mem::take(&mut client.groups)
            }
            None => Vec::new(),
        };
        self.leave(session.client, &groups);
    }

    pub(super) fn disconnect(&self, session: &Session) {
        let groups = self.clients().remove(&session.client).map(|client| client.groups);
        self.leave(session.client, &groups.unwrap_or_default());
    }

    fn leave(&self, client: u32, groups: &[(u64, u32)]) {
        if groups.is_empty() {
            return;
        }
        let topology = self.topology();
        for topic in topology.topics() {
            for (number, group) in groups {
                if topic.row.number == *number
                    && let Some(group) = topic.groups().get_mut(group)
                {
                    group.leave(client);
                }
            }
        }
    }

    /// Writes what waits and closes the store. Blocks.
    pub(super) fn close(&self) {
        self.store.close();
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self { format: FORMAT, next_stream: 1, next_topic: 1 }
    }
}

impl Counters {
    pub(super) fn row(&self) -> Change {
        put(COUNTERS.to_vec(), self)
    }
}

/// A row of metadata.
pub(super) fn put(key: Vec<u8>, row: &impl Serialize) -> Change {
    // Rows are plain structs of numbers and strings, which JSON always takes.
    let row = serde_json::to_vec(row).unwrap_or_default();
    Change::Put(Space::Meta, key, Bytes::from(row))
}

/// A topic's row.
pub(super) fn put_topic(row: &TopicRow) -> Change {
    put(topic_key(row.number), row)
}

/// What the rows say.
#[derive(Debug, Default)]
pub(super) struct Restored {
    counters: Counters,
    pub(super) topology: Topology,
    tokens: Tokens,
}

/// Builds everything from the rows.
pub(super) fn restore(loaded: &Loaded, config: &BrokerConfig) -> Result<Restored, BoxError> {
    fn row<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, BoxError> {
        serde_json::from_slice(value)
            .map_err(|error| format!("row {}: {error}", key.escape_ascii()).into())
    }

    let Restored { mut counters, mut topology, mut tokens } = Restored::default();
    let (mut topics, mut groups) = (Vec::<TopicRow>::new(), Vec::<(u64, GroupRow)>::new());
    for (key, value) in &loaded.meta {
        match key.split_first() {
            _ if key == COUNTERS => counters = row(key, value)?,
            Some((b's', _)) => topology.insert(Stream::new(row::<StreamRow>(key, value)?)),
            Some((b'p', _)) => {
                let token: TokenRow = row(key, value)?;
                tokens.0.insert(token.name.clone(), token);
            }
            Some((b't', _)) => topics.push(row(key, value)?),
            Some((b'g', id)) => {
                let topic = id.first_chunk().ok_or("a group's key is too short")?;
                groups.push((u64::from_be_bytes(*topic), row(key, value)?));
            }
            _ => return Err(format!("row {} is unknown", key.escape_ascii()).into()),
        }
    }
    if counters.format > FORMAT {
        return Err(format!("written by a later version (layout {})", counters.format).into());
    }
    let mut rows = RowsOfTopics::sort(loaded, groups);
    for topic_row in topics {
        if topic_row.partitions > MAX_PARTITIONS {
            let (name, count) = (&topic_row.name, topic_row.partitions);
            return Err(format!("topic {name} has {count} partitions: too many to be true").into());
        }
        let rows = rows.0.remove(&topic_row.number).unwrap_or_default();
        let topic = Arc::new(open_topic(topic_row, &rows.bounds));
        for group in rows.groups {
            let open = Group::new(group.id, group.name, topic.row.partitions, config.rebalance);
            topic.groups().insert(group.id, open);
        }
        for (id, reader, offset) in rows.offsets {
            if let Some(partition) = topic.partitions.get(id as usize) {
                partition.set_offset(reader.clone(), offset);
            }
        }
        if let Some(stream) = topology.streams.get_mut(&topic.row.stream) {
            stream.set(topic);
        }
    }
    Ok(Restored { counters, topology, tokens })
}

/// What was stored of one topic.
#[derive(Default)]
struct RowsOfTopic<'l> {
    groups: Vec<GroupRow>,
    bounds: HashMap<u32, Bounds>,
    offsets: Vec<(u32, &'l Reader, u64)>,
}

/// What was stored, topic by topic: looked through once, and not once for each topic.
struct RowsOfTopics<'l>(HashMap<u64, RowsOfTopic<'l>>);

impl<'l> RowsOfTopics<'l> {
    fn sort(loaded: &'l Loaded, groups: Vec<(u64, GroupRow)>) -> Self {
        let mut topics = HashMap::<u64, RowsOfTopic<'l>>::new();
        for (topic, group) in groups {
            topics.entry(topic).or_default().groups.push(group);
        }
        for (topic, partition, bounds) in &loaded.bounds {
            topics.entry(*topic).or_default().bounds.insert(*partition, *bounds);
        }
        for (topic, partition, reader, offset) in &loaded.offsets {
            topics.entry(*topic).or_default().offsets.push((*partition, reader, *offset));
        }
        Self(topics)
    }
}

fn open_topic(row: TopicRow, bounds: &HashMap<u32, Bounds>) -> Topic {
    let partitions = (0..row.partitions)
        .map(|id| {
            let bounds = bounds.get(&id).copied().unwrap_or_default();
            Arc::new(Partition::new(row.number, id, row.created_at, bounds))
        })
        .collect();
    Topic { row, partitions, groups: Arc::default(), balanced: Arc::default() }
}
