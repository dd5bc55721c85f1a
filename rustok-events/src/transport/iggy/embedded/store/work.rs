//! What there is to be stored, and what follows from having stored it.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use iggy::prelude::IggyError;

use super::{Change, Disk, Space, disk::Extent, keys::RecordKey, partition_prefix};
use crate::transport::iggy::embedded::{
    batch::{Batch, Record},
    partition::{Bounds, Partition, Tails},
    session::now,
};

/// How many rows one piece of work removes at most, so that nobody waits long behind it.
const AT_ONCE: usize = 2048;

/// What a partition is to give up, oldest records first.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Trim {
    /// Everything appended before the time, in microseconds since 1970.
    Before(u64),
    /// So many bytes, but never the last record.
    Bytes(u64),
    /// Everything.
    All,
}

/// A piece of work for the store. What its number says stands beside it.
pub(in super::super) enum Work {
    /// Appends a batch; the number is the first message's offset.
    Append { partition: Arc<Partition>, batch: Batch },
    /// Removes old records, some at a time; the number is how many went.
    Trim { partition: Arc<Partition>, trim: Trim },
    /// Writes rows, then does what is to follow; no number.
    Apply { changes: Vec<Change>, then: Box<dyn FnOnce() + Send> },
    /// Removes the rows of messages, bounds and offsets that begin so, some at a time; the number is how many went.
    Purge { prefix: Vec<u8> },
    /// Brings everything to the disk, whatever the policy; no number.
    Sync,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append { .. } => "Append",
            Self::Trim { .. } => "Trim",
            Self::Apply { .. } => "Apply",
            Self::Purge { .. } => "Purge",
            Self::Sync => "Sync",
        })
    }
}

/// Work whose rows are known.
pub(super) struct Staged {
    pub(super) changes: Vec<Change>,
    pub(super) effect: Effect,
    pub(super) result: u64,
}

/// What to do once the rows are stored.
pub(super) enum Effect {
    Show { partition: Arc<Partition>, bounds: Bounds, records: Vec<Record> },
    Then(Box<dyn FnOnce() + Send>),
    Nothing,
}

impl Effect {
    pub(super) fn apply(self, tails: Option<&Tails>) {
        match self {
            Self::Show { partition, bounds, records } => partition.show(bounds, records, tails),
            Self::Then(then) => then(),
            Self::Nothing => {}
        }
    }

    /// Takes the staging back after the rows could not be stored.
    pub(super) fn abandon(self) {
        if let Self::Show { partition, .. } = self {
            partition.unstage();
        }
    }
}

impl Work {
    /// The partition whose order it is part of.
    pub(super) fn partition(&self) -> Option<&Arc<Partition>> {
        match self {
            Self::Append { partition, .. } | Self::Trim { partition, .. } => Some(partition),
            _ => None,
        }
    }

    /// About how many bytes it brings.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append { batch, .. } => batch.len(),
            _ => 0,
        }
    }

    /// Says which rows are to be written. In memory there are none.
    pub(super) fn stage(self, disk: Option<&Disk>) -> Result<Staged, IggyError> {
        match self {
            Self::Append { partition, batch } => {
                let (records, bounds) =
                    partition.stage(batch, now()).ok_or(IggyError::CannotAppendMessage)?;
                let result = records.first().map_or(bounds.next, |record| record.base);
                let mut changes = Vec::new();
                if disk.is_some() {
                    changes.extend(records.iter().map(|record| put_record(&partition, record)));
                    changes.push(put_bounds(&partition, bounds));
                }
                Ok(Staged { changes, effect: Effect::Show { partition, bounds, records }, result })
            }
            Self::Trim { partition, trim } => stage_trim(partition, trim, disk),
            Self::Apply { changes, then } => {
                Ok(Staged { changes, effect: Effect::Then(then), result: 0 })
            }
            Self::Purge { prefix } => {
                let changes = match disk {
                    Some(disk) => disk.rows_under(&prefix, AT_ONCE)?,
                    None => Vec::new(),
                };
                let result = changes.len() as u64;
                Ok(Staged { changes, effect: Effect::Nothing, result })
            }
            Self::Sync => Ok(Staged { changes: Vec::new(), effect: Effect::Nothing, result: 0 }),
        }
    }
}

fn stage_trim(
    partition: Arc<Partition>,
    trim: Trim,
    disk: Option<&Disk>,
) -> Result<Staged, IggyError> {
    let staged = partition.staged();
    let extents: Vec<Extent> = match disk {
        Some(disk) => disk.oldest(&partition, AT_ONCE)?,
        None => partition
            .extents()
            .into_iter()
            .map(|(base, end, timestamp, bytes)| {
                let count = u32::try_from(end - base).unwrap_or(u32::MAX);
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                (None, RecordKey { base, count, timestamp, bytes })
            })
            .collect(),
    };
    let mut changes = Vec::new();
    let (mut first, mut freed, mut removed) = (staged.first, 0, 0);
    for (row, key) in extents {
        if key.base < staged.first {
            continue;
        }
        let goes = match trim {
            Trim::Before(time) => key.timestamp < time,
            Trim::Bytes(bytes) => freed < bytes && key.end() < staged.next,
            Trim::All => true,
        };
        if !goes {
            break;
        }
        changes.extend(row.map(|row| Change::Remove(Space::Log, row)));
        first = key.end();
        freed += u64::from(key.bytes);
        removed += 1;
    }
    let bounds = partition.stage_trim(first, freed);
    if removed > 0 && disk.is_some() {
        changes.push(put_bounds(&partition, bounds));
    }
    let effect = Effect::Show { partition, bounds, records: Vec::new() };
    Ok(Staged { changes, effect, result: removed })
}

fn put_record(partition: &Partition, record: &Record) -> Change {
    let key = RecordKey {
        base: record.base,
        count: record.count,
        timestamp: record.timestamp,
        bytes: u32::try_from(record.frames.len()).unwrap_or(u32::MAX),
    };
    Change::Put(Space::Log, key.encode(partition.topic, partition.id), record.frames.clone())
}

/// The row that says where a partition begins and ends.
fn put_bounds(partition: &Partition, bounds: Bounds) -> Change {
    let mut row = Vec::with_capacity(32);
    for number in [bounds.first, bounds.next, bounds.bytes, bounds.timestamp] {
        row.extend_from_slice(&number.to_le_bytes());
    }
    let key = partition_prefix(partition.topic, partition.id);
    Change::Put(Space::Bounds, key, Bytes::from(row))
}

/// Reads such a row back.
pub(super) fn read_bounds(row: &[u8]) -> Option<Bounds> {
    let number = |at: usize| {
        row.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
    };
    Some(Bounds { first: number(0)?, next: number(8)?, bytes: number(16)?, timestamp: number(24)? })
}
