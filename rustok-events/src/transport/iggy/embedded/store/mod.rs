//! Where everything is kept: in memory, or on disk through one writer thread.
//!
//! ```text
//! connection ─ Work ─▶ stage (offsets, rows) ─▶ commit (one journal write, one sync for all that wait) ─▶ show
//! ```
//!
//! Nothing is shown to a reader or acknowledged before it is committed. Messages, offsets and metadata share one
//! journal, so an offset can never be on the disk ahead of the messages it counts.

mod disk;
pub(super) mod journal;
mod keys;
mod rows;
mod tail;
mod work;
mod writer;

use std::sync::{Arc, atomic::AtomicUsize};

use bytes::Bytes;
use iggy::prelude::IggyError;

pub(super) use self::{
    disk::Disk,
    keys::{
        group_key, offset_key, partition_prefix, stream_key, token_key, topic_key, topic_prefix,
    },
    rows::{Loaded, add_record},
    work::{Trim, Work},
};
use self::{work::Staged, writer::Writer};
use super::partition::Tails;

/// The four kinds of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// Streams, topics, groups, counters.
    Meta,
    /// Stored offsets.
    Offsets,
    /// Where partitions begin and end.
    Bounds,
    /// Records of messages.
    Log,
}

/// A row to write.
#[derive(Debug)]
pub(super) enum Change {
    Put(Space, Vec<u8>, Bytes),
    Remove(Space, Vec<u8>),
}

/// Where everything is kept.
#[derive(Debug)]
pub(super) enum Store {
    Memory,
    Disk { disk: Arc<Disk>, tails: Arc<Tails>, writer: Writer },
}

impl Store {
    pub(super) fn on_disk(disk: Disk, sync: super::SyncPolicy) -> std::io::Result<Self> {
        let disk = Arc::new(disk);
        let tails = Arc::new(AtomicUsize::new(0));
        let writer = Writer::start(Arc::clone(&disk), Arc::clone(&tails), sync)?;
        Ok(Self::Disk { disk, tails, writer })
    }

    /// Does the work and returns once it is stored; the number is what the kind of work says.
    ///
    /// Dropping the call leaves the work under way.
    pub(super) async fn submit(&self, work: Work) -> Result<u64, IggyError> {
        match self {
            Self::Memory => {
                let partition = work.partition().cloned();
                let _order = partition.as_ref().map(|partition| {
                    partition.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
                });
                let Staged { effect, result, .. } = work.stage(None)?;
                effect.apply(None);
                Ok(result)
            }
            Self::Disk { writer, .. } => writer.submit(work).await,
        }
    }

    /// Writes what waits, syncs, and takes no more work. Blocks.
    pub(super) fn close(&self) {
        if let Self::Disk { writer, .. } = self {
            writer.stop();
        }
    }

    pub(super) fn disk(&self) -> Option<&Arc<Disk>> {
        match self {
            Self::Memory => None,
            Self::Disk { disk, .. } => Some(disk),
        }
    }

    pub(super) fn tails(&self) -> Option<&Tails> {
        match self {
            Self::Memory => None,
            Self::Disk { tails, .. } => Some(tails),
        }
    }
}
