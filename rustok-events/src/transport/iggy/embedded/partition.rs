//! One partition: where it begins and ends, its newest records, and how far its readers are.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use super::batch::{Batch, Record};

/// How many bytes of records a broker on disk keeps at hand for readers at the end, over all its partitions.
const TAILS: usize = 16 * 1024 * 1024;
/// How many of them one partition may take.
const TAIL: usize = 2 * 1024 * 1024;

/// Who stores an offset: a consumer by number or name, or a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Reader {
    Number(u32),
    Name(String),
    Group(u32),
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The first offset that is still there.
    pub(super) first: u64,
    /// The offset the next message gets. Never falls.
    pub(super) next: u64,
    /// How many bytes lie between them.
    pub(super) bytes: u64,
    /// When the last message was appended, in microseconds since 1970.
    pub(super) timestamp: u64,
}

impl Bounds {
    /// How many messages there are.
    pub(super) fn count(&self) -> u64 {
        self.next - self.first
    }

    /// The last message's offset, 0 while there was none: what the protocol calls the current offset.
    pub(super) fn current(&self) -> u64 {
        self.next.saturating_sub(1)
    }
}

/// Messages that were found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) parts: Vec<Bytes>,
    pub(super) count: u32,
    pub(super) bytes: usize,
    /// The last one's offset.
    pub(super) last: Option<u64>,
}

impl Found {
    /// Adds what the record has from `offset` on; says whether there is room for more.
    pub(super) fn add(&mut self, record: &Record, offset: u64, count: u32, bytes: usize) -> bool {
        let room = bytes.saturating_sub(self.bytes);
        if self.count >= count || (room == 0 && self.count > 0) {
            return false;
        }
        let from = offset.max(record.base);
        let (part, taken) = record.cut(from, count - self.count, room);
        if taken == 0 || (self.count > 0 && part.len() > room) {
            return false;
        }
        self.bytes += part.len();
        self.count += taken;
        self.last = Some(from + u64::from(taken) - 1);
        self.parts.push(part);
        self.last.is_some_and(|last| last + 1 == record.end()) && self.count < count
    }
}

/// What is known of a partition without reading the disk.
#[derive(Debug, Default)]
struct State {
    /// What readers see: everything in it is stored.
    bounds: Bounds,
    /// What it will be once the writes under way are stored.
    staged: Bounds,
    tail: VecDeque<Record>,
    tail_bytes: usize,
    /// Set when the topic or the partition is gone: nothing is appended from then on.
    closed: bool,
}

/// One partition of one topic.
#[derive(Debug)]
pub(super) struct Partition {
    /// The topic's number in the store, never given twice.
    pub(super) topic: u64,
    /// From 0.
    pub(super) id: u32,
    /// In microseconds since 1970.
    pub(super) created_at: u64,
    /// Held from staging a write to applying it where no writer thread keeps the order.
    pub(super) order: Mutex<()>,
    state: Mutex<State>,
    offsets: Mutex<HashMap<Reader, u64>>,
}

/// How many bytes all the partitions of a broker keep at hand.
pub(super) type Tails = AtomicUsize;

impl Partition {
    pub(super) fn new(topic: u64, id: u32, created_at: u64, bounds: Bounds) -> Self {
        Self {
            topic,
            id,
            created_at,
            order: Mutex::default(),
            state: Mutex::new(State { bounds, staged: bounds, ..State::default() }),
            offsets: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.state().bounds
    }

    /// Gives a batch its place behind everything that is staged; `None` if the partition is gone.
    pub(super) fn stage(&self, batch: Batch, now: u64) -> Option<(Vec<Record>, Bounds)> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        let mut staged = state.staged;
        staged.timestamp = staged.timestamp.max(now);
        staged.bytes += batch.len() as u64;
        let records = batch.stamp(staged.next, staged.timestamp);
        staged.next = records.last().map_or(staged.next, Record::end);
        state.staged = staged;
        Some((records, staged))
    }

    /// Where the partition will begin and end, to decide what to trim.
    pub(super) fn staged(&self) -> Bounds {
        self.state().staged
    }

    /// Sets where the partition will begin.
    pub(super) fn stage_trim(&self, first: u64, freed: u64) -> Bounds {
        let mut state = self.state();
        state.staged.first = first;
        state.staged.bytes = state.staged.bytes.saturating_sub(freed);
        state.staged
    }

    /// Forgets what was staged: it could not be stored.
    pub(super) fn unstage(&self) {
        let mut state = self.state();
        state.staged = state.bounds;
    }

    /// Lets readers see what was stored. `tails` bounds what stays at hand; without it everything does.
    pub(super) fn show(&self, bounds: Bounds, records: Vec<Record>, tails: Option<&Tails>) {
        let mut state = self.state();
        state.bounds = bounds;
        for record in records {
            state.tail_bytes += record.frames.len();
            if let Some(tails) = tails {
                tails.fetch_add(record.frames.len(), Ordering::Relaxed);
            }
            state.tail.push_back(record);
        }
        while state.tail.front().is_some_and(|record| record.end() <= bounds.first) {
            state.forget_oldest(tails);
        }
        if let Some(tails) = tails {
            while state.tail_bytes > TAIL
                || (state.tail.len() > 1 && tails.load(Ordering::Relaxed) > TAILS)
            {
                state.forget_oldest(Some(tails));
            }
        }
    }

    /// Gives up what it has at hand: it can be read from the disk.
    pub(super) fn forget_tail(&self, tails: &Tails) {
        let mut state = self.state();
        while !state.tail.is_empty() {
            state.forget_oldest(Some(tails));
        }
        state.tail.shrink_to_fit();
    }

    /// The messages from `offset` on, if they are at hand; `None` if they must be read from the disk.
    pub(super) fn read(&self, offset: u64, count: u32, bytes: usize) -> Option<Found> {
        let state = self.state();
        let start = state.tail.partition_point(|record| record.end() <= offset);
        if state.tail.front().is_none_or(|record| offset < record.base) {
            return None;
        }
        let mut found = Found::default();
        for record in state.tail.range(start..) {
            if !found.add(record, offset, count, bytes) {
                break;
            }
        }
        Some(found)
    }

    /// The first offset at hand appended at `timestamp` or later, and whether everything is at hand.
    pub(super) fn at_time(&self, timestamp: u64) -> (Option<u64>, bool) {
        let state = self.state();
        let complete = state.tail.front().is_none_or(|record| record.base <= state.bounds.first)
            && (!state.tail.is_empty() || state.bounds.count() == 0);
        let at = state.tail.partition_point(|record| record.timestamp < timestamp);
        let known = complete || at > 0;
        (state.tail.get(at).map(|record| record.base), known)
    }

    /// The records at hand, as (first offset, end, time, bytes), oldest first.
    pub(super) fn extents(&self) -> Vec<(u64, u64, u64, u64)> {
        let extent = |r: &Record| (r.base, r.end(), r.timestamp, r.frames.len() as u64);
        self.state().tail.iter().map(extent).collect()
    }

    /// Lets nothing be appended any more, and forgets what is at hand.
    pub(super) fn close(&self, tails: Option<&Tails>) {
        let mut state = self.state();
        state.closed = true;
        while !state.tail.is_empty() {
            state.forget_oldest(tails);
        }
    }

    pub(super) fn offset(&self, reader: &Reader) -> Option<u64> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner).get(reader).copied()
    }

    pub(super) fn set_offset(&self, reader: Reader, offset: u64) {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner).insert(reader, offset);
    }

    pub(super) fn remove_offset(&self, reader: &Reader) -> Option<u64> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner).remove(reader)
    }
}

impl State {
    fn forget_oldest(&mut self, tails: Option<&Tails>) {
        if let Some(record) = self.tail.pop_front() {
            self.tail_bytes -= record.frames.len();
            if let Some(tails) = tails {
                tails.fetch_sub(record.frames.len(), Ordering::Relaxed);
            }
        }
    }
}
