//! The store on disk: four keyspaces of one fjall database, and the lock on its folder.
//!
//! fjall's journal carries a checksum over each write. At the start a torn end is cut from it, and damage further back
//! refused: see [`tail`](super::tail). With [`SyncPolicy::Always`] nothing that was acknowledged can be in a torn tail.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
};
use iggy::prelude::IggyError;

use super::{
    Change, Loaded, Space, add_record,
    keys::{RecordKey, partition_of},
    partition_prefix, tail,
};
use crate::{
    BoxError,
    transport::iggy::embedded::{
        BrokerError, SyncPolicy,
        partition::{Bounds, Found, Partition},
    },
};

/// What the journals that are full may hold before what is in them is brought out of them: a start has to read it. The
/// engine takes no less.
const JOURNAL: u64 = 64 * 1024 * 1024;
const CACHE: u64 = 16 * 1024 * 1024;
const MEMTABLE: u64 = 16 * 1024 * 1024;
/// How long a start waits for a broker that is just stopping.
const PATIENCE: Duration = Duration::from_millis(500);

/// The database.
pub(in super::super) struct Disk {
    meta: Keyspace,
    offsets: Keyspace,
    bounds: Keyspace,
    log: Keyspace,
    database: Database,
    /// Given back last, when the database is closed.
    _lock: File,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

/// A record by its key, and the key as it lies on the disk.
pub(super) type Extent = (Option<Vec<u8>>, RecordKey);

impl Disk {
    /// Opens the folder, making it if it is missing. Blocks.
    pub(in super::super) fn open(path: &Path, sync: SyncPolicy) -> Result<Self, BrokerError> {
        let io = |source| BrokerError::DataDir { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        let lock = lock(path)?;
        let storage = |source| BrokerError::Storage { path: path.to_owned(), source };
        let fjall = |source: fjall::Error| storage(source.into());
        let data = path.join("data");
        tail::mend(&data, sync).map_err(storage)?;
        let database = open(&data).map_err(fjall)?;
        let rows = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE / 4);
        let records = || {
            let blobs = KvSeparationOptions::default().compression(CompressionType::None);
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE)
                .with_kv_separation(Some(blobs))
        };
        Ok(Self {
            meta: database.keyspace("meta", rows).map_err(fjall)?,
            offsets: database.keyspace("offsets", rows).map_err(fjall)?,
            bounds: database.keyspace("bounds", rows).map_err(fjall)?,
            log: database.keyspace("log", records).map_err(fjall)?,
            database,
            _lock: lock,
        })
    }

    /// Reads everything but the messages. Blocks.
    pub(in super::super) fn load(&self) -> Result<Loaded, BoxError> {
        let mut loaded = Loaded::default();
        for row in self.meta.iter() {
            let (key, value) = row.into_inner()?;
            loaded.add_meta(&key, &value);
        }
        for row in self.bounds.iter() {
            let (key, value) = row.into_inner()?;
            loaded.add_bounds(&key, &value)?;
        }
        for row in self.offsets.iter() {
            let (key, value) = row.into_inner()?;
            loaded.add_offset(&key, &value)?;
        }
        Ok(loaded)
    }

    /// Writes all the changes or none, and syncs if asked to. Blocks.
    pub(super) fn commit(&self, changes: Vec<Change>, sync: bool) -> fjall::Result<()> {
        let mode = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        if changes.is_empty() {
            return if sync { self.database.persist(mode) } else { Ok(()) };
        }
        let mut batch = self.database.batch().durability(Some(mode));
        for change in changes {
            match change {
                Change::Put(space, key, value) => {
                    batch.insert(self.space(space), key, value.as_ref());
                }
                Change::Remove(space, key) => batch.remove(self.space(space), key),
            }
        }
        batch.commit()
    }

    pub(super) fn sync(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncAll)
    }

    fn space(&self, space: Space) -> &Keyspace {
        match space {
            Space::Meta => &self.meta,
            Space::Offsets => &self.offsets,
            Space::Bounds => &self.bounds,
            Space::Log => &self.log,
        }
    }

    /// The messages from `offset` on. Blocks.
    pub(in super::super) fn read(
        &self,
        partition: &Partition,
        offset: u64,
        count: u32,
        bytes: usize,
    ) -> Result<Found, IggyError> {
        let prefix = partition_prefix(partition.topic, partition.id);
        let high = [prefix.as_slice(), &[0xFF; 25]].concat();
        let rows = |from: u64| {
            let low = [prefix.as_slice(), &from.to_be_bytes()].concat();
            self.log.range(low..high.clone()).map(fjall::Guard::into_inner)
        };
        // Whoever reads on mostly begins where a record does; if not, the record before has to be looked for.
        let mut next = rows(offset);
        let mut row = next.next();
        let begins = match &row {
            Some(Ok((key, _))) => RecordKey::decode(key)?.base == offset,
            Some(Err(_)) => true,
            None => false,
        };
        if !begins && let Some(before) = self.seek(partition, offset)? {
            next = rows(before.base);
            row = next.next();
        }
        let mut found = Found::default();
        while let Some(read) = row {
            let (key, frames) = read.map_err(|error| unreadable(&error))?;
            if !add_record(&mut found, &key, Bytes::from_owner(frames), offset, count, bytes)? {
                break;
            }
            row = next.next();
        }
        Ok(found)
    }

    /// The first offset appended at the time or later. Blocks.
    pub(in super::super) fn at_time(
        &self,
        partition: &Partition,
        timestamp: u64,
    ) -> Result<Option<u64>, IggyError> {
        let Bounds { first, next, .. } = partition.bounds();
        // Times never fall along a partition: look for the boundary by halves.
        let (mut low, mut high) = (first, next);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.seek(partition, middle)? {
                Some(key) if key.timestamp >= timestamp => high = key.base.max(low).min(middle),
                Some(key) => low = key.end().max(middle + 1),
                None => low = middle + 1,
            }
        }
        Ok((low < next).then_some(low))
    }

    /// The key of the last record that begins at `offset` or before it.
    fn seek(&self, partition: &Partition, offset: u64) -> Result<Option<RecordKey>, IggyError> {
        let prefix = partition_prefix(partition.topic, partition.id);
        let high = [prefix.as_slice(), &offset.to_be_bytes(), &[0xFF; 17]].concat();
        match self.log.range(prefix.clone()..high).next_back() {
            Some(row) => {
                let key = row.key().map_err(|error| unreadable(&error))?;
                RecordKey::decode(&key).map(Some)
            }
            None => Ok(None),
        }
    }

    /// A partition's oldest records, with their rows' keys.
    pub(super) fn oldest(
        &self,
        partition: &Partition,
        max: usize,
    ) -> Result<Vec<Extent>, IggyError> {
        let prefix = partition_prefix(partition.topic, partition.id);
        let mut keys = Vec::new();
        for row in self.log.prefix(prefix).take(max) {
            let row = row.key().map_err(|error| unreadable(&error))?;
            keys.push((Some(row.to_vec()), RecordKey::decode(&row)?));
        }
        Ok(keys)
    }

    /// Removals of the rows of messages, bounds and offsets that begin so.
    pub(super) fn rows_under(&self, prefix: &[u8], max: usize) -> Result<Vec<Change>, IggyError> {
        let mut changes = Vec::new();
        for space in [Space::Log, Space::Bounds, Space::Offsets] {
            for row in self.space(space).prefix(prefix).take(max - changes.len()) {
                let key = row.key().map_err(|error| unreadable(&error))?;
                changes.push(Change::Remove(space, key.to_vec()));
            }
        }
        Ok(changes)
    }

    /// The topics that have rows of messages, bounds or offsets. Blocks, for one seek a topic.
    pub(in super::super) fn topics(&self) -> Result<Vec<u64>, IggyError> {
        let mut topics = Vec::new();
        for space in [Space::Log, Space::Bounds, Space::Offsets] {
            let mut from = Some(0_u64);
            while let Some(low) = from {
                let Some(row) = self.space(space).range(low.to_be_bytes()..).next() else { break };
                let key = row.key().map_err(|error| unreadable(&error))?;
                let Some((topic, _)) = partition_of(&key) else { break };
                topics.push(topic);
                from = topic.checked_add(1);
            }
        }
        topics.sort_unstable();
        topics.dedup();
        Ok(topics)
    }
}

fn unreadable(error: &fjall::Error) -> IggyError {
    tracing::error!(%error, "the embedded broker cannot read its data");
    IggyError::CannotReadFile
}

/// Opens the database.
fn open(path: &Path) -> fjall::Result<Database> {
    Database::builder(path)
        .cache_size(CACHE)
        .journal_compression(CompressionType::None)
        .max_journaling_size(JOURNAL)
        .worker_threads(1)
        .open()
}

fn lock(path: &Path) -> Result<File, BrokerError> {
    let io = |source| BrokerError::DataDir { path: path.to_owned(), source };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join("broker.lock"))
        .map_err(io)?;
    let step = PATIENCE / 10;
    for attempt in 0..=10 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if attempt < 10 => std::thread::sleep(step),
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(source)) if source.kind() == io::ErrorKind::Unsupported => {
                return Err(io(source));
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
    }
    Err(BrokerError::DataDirInUse(path.to_owned()))
}
