//! What was polled and is not being handled yet, by partition, and which of it goes next.
//!
//! A partition has one batch in flight. Partitions go side by side; or, where the database has one writer, for which
//! their transactions would queue, whatever waits once the writer is free goes in one.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::transport::IncomingMessage;

/// Messages of one partition, in order.
pub(super) type Batch = Vec<IncomingMessage>;

/// The lanes of one member.
pub(super) struct Lanes {
    /// The most messages that go in one transaction.
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By partition, in order.
    waiting: HashMap<u32, VecDeque<IncomingMessage>>,
    /// Partitions with a batch in flight.
    busy: HashSet<u32>,
    /// Partitions with something waiting and nothing in flight, in the order in which they came to it.
    ready: VecDeque<u32>,
    /// Whether somebody queues for the writer, to take what is ready then.
    queued: bool,
}

impl Lanes {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes messages in.
    pub(super) fn add(&self, messages: Vec<IncomingMessage>) {
        let mut state = self.lock();
        for message in messages {
            let partition = message.partition;
            let waiting = state.waiting.entry(partition).or_default();
            waiting.push_back(message);
            if waiting.len() == 1 && !state.busy.contains(&partition) {
                state.ready.push_back(partition);
            }
        }
    }

    /// How many messages wait, and of how many partitions there were any.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let waiting = &self.lock().waiting;
        (waiting.values().map(VecDeque::len).sum(), waiting.len())
    }

    /// The next batch of a partition, which has one in flight from then on.
    pub(super) fn next(&self) -> Option<Batch> {
        self.lock().next(self.most)
    }

    /// What goes in one transaction, if it is as much as ever goes in one.
    pub(super) fn next_full(&self) -> Option<Vec<Batch>> {
        let mut state = self.lock();
        let ready: usize = state.ready.iter().map(|partition| state.waiting[partition].len()).sum();
        (ready >= self.most).then(|| state.together(self.most))
    }

    /// Whether somebody has to queue for the writer, and to call [`together`](Self::together) once it is free.
    pub(super) fn wants_writer(&self) -> bool {
        let mut state = self.lock();
        !state.ready.is_empty() && !std::mem::replace(&mut state.queued, true)
    }

    /// What goes in one transaction now.
    pub(super) fn together(&self) -> Vec<Batch> {
        let mut state = self.lock();
        state.queued = false;
        state.together(self.most)
    }

    /// The batch of a partition has its result.
    pub(super) fn free(&self, partition: u32) {
        let mut state = self.lock();
        let waits = state.waiting.get(&partition).is_some_and(|waiting| !waiting.is_empty());
        if state.busy.remove(&partition) && waits {
            state.ready.push_back(partition);
        }
    }

    /// Throws away what waits of a partition.
    pub(super) fn forget(&self, partition: u32) {
        let mut state = self.lock();
        state.waiting.remove(&partition);
        state.ready.retain(|ready| *ready != partition);
    }

    /// Throws everything away.
    pub(super) fn clear(&self) {
        *self.lock() = State::default();
    }
}

impl State {
    fn next(&mut self, most: usize) -> Option<Batch> {
        let partition = self.ready.pop_front()?;
        self.busy.insert(partition);
        let waiting = self.waiting.get_mut(&partition)?;
        let take = waiting.len().min(most);
        Some(waiting.drain(..take).collect())
    }

    fn together(&mut self, most: usize) -> Vec<Batch> {
        let (mut left, mut batches) = (most, Vec::new());
        while left > 0
            && let Some(batch) = self.next(left)
        {
            left -= batch.len();
            batches.push(batch);
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::WireHeaders;

    fn message(partition: u32, offset: u64) -> IncomingMessage {
        IncomingMessage {
            partition,
            offset,
            headers: WireHeaders::default(),
            payload: Vec::new().into(),
        }
    }

    fn places(batches: &[Batch]) -> Vec<Vec<(u32, u64)>> {
        let place = |message: &IncomingMessage| (message.partition, message.offset);
        batches.iter().map(|batch| batch.iter().map(place).collect()).collect()
    }

    fn lanes(most: usize) -> Lanes {
        let lanes = Lanes::new(most);
        lanes.add(vec![message(1, 0), message(1, 1), message(2, 7), message(3, 4)]);
        lanes
    }

    #[test]
    fn a_partition_has_one_batch_in_flight() {
        let lanes = lanes(1);
        let all: Vec<_> = std::iter::from_fn(|| lanes.next()).collect();
        assert_eq!(places(&all), [[(1, 0)], [(2, 7)], [(3, 4)]]);
        assert_eq!(lanes.waiting(), (1, 3));
        lanes.free(2);
        assert!(lanes.next().is_none());
        lanes.free(1);
        assert_eq!(places(&[lanes.next().unwrap()]), [[(1, 1)]]);
    }

    #[test]
    fn what_waits_for_the_writer_goes_together_up_to_a_batch() {
        let lanes = lanes(3);
        assert!(lanes.wants_writer());
        assert!(!lanes.wants_writer(), "somebody queues already");
        assert_eq!(places(&lanes.together()), [vec![(1, 0), (1, 1)], vec![(2, 7)]]);
        assert!(lanes.next_full().is_none());
        assert!(lanes.wants_writer(), "one partition is left");
        lanes.add(vec![message(1, 2), message(4, 0), message(4, 1), message(4, 2)]);
        let full = lanes.next_full().unwrap();
        assert_eq!(places(&full), [vec![(3, 4)], vec![(4, 0), (4, 1)]]);
        assert!(lanes.together().is_empty(), "all are in flight");
    }

    #[test]
    fn a_lost_partition_is_forgotten_and_may_come_again() {
        let lanes = lanes(9);
        let first = lanes.next().unwrap();
        assert_eq!(places(&[first]), [[(1, 0), (1, 1)]]);
        lanes.add(vec![message(1, 2)]);
        lanes.forget(1);
        lanes.forget(2);
        lanes.free(1);
        assert_eq!(places(&lanes.together()), [[(3, 4)]]);
        lanes.add(vec![message(1, 0)]);
        assert_eq!(places(&lanes.together()), [[(1, 0)]]);
    }
}
