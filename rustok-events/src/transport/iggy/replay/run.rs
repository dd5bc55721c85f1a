//! A replay under way.

use std::{collections::BTreeMap, time::Duration};

use iggy::prelude::PollingStrategy;
use tokio::time::Instant;

use super::position::{Range, ReplayPosition, ReplayProgress};
use crate::{
    envelope::header,
    transport::{
        BoxFuture, IncomingMessage, Subscription, TransportError,
        iggy::{incoming, reader::Reader},
    },
};

/// A replay under way: a [`Subscription`] whose acknowledgements move nothing but [`position`](Self::position).
#[derive(Debug)]
pub struct Replay {
    reader: Reader,
    places: Vec<Place>,
    filter: Filter,
    pace: Option<Pace>,
    delivered: u64,
    turn: usize,
}

/// Which messages are handed out.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// Event names; empty for all.
    pub(super) names: Vec<String>,
    pub(super) key: Option<Vec<u8>>,
}

impl Filter {
    fn wants(&self, message: &IncomingMessage) -> bool {
        let header = |name| message.headers.get(name);
        let name = header(header::TYPE);
        let named = |wanted: &String| name == Some(wanted.as_bytes());
        (self.names.is_empty() || self.names.iter().any(named))
            && (self.key.is_none() || header(header::PARTITION_KEY) == self.key.as_deref())
    }
}

#[derive(Debug)]
struct Place {
    partition: u32,
    start: u64,
    /// What was read.
    next: u64,
    end: u64,
    /// What a resumed replay need not read again.
    done: u64,
    /// The last message handed out and not yet done.
    waiting: Option<u64>,
}

impl Place {
    fn new(partition: u32, Range { next, end }: Range) -> Self {
        Self { partition, start: next, next, end, done: next, waiting: None }
    }

    fn advance(&mut self, next: u64, last_delivered: Option<u64>) {
        self.next = next;
        self.waiting = last_delivered.or(self.waiting);
        if self.waiting.is_none() {
            self.done = next;
        }
    }

    fn acknowledge(&mut self, offset: u64) {
        self.done = self.done.max(offset + 1).min(self.next);
        if self.waiting.is_some_and(|waiting| waiting <= offset) {
            self.waiting = None;
            self.done = self.next;
        }
    }
}

#[derive(Debug)]
struct Pace {
    per_second: u32,
    free_at: Instant,
}

impl Pace {
    /// How many may come at a time: a tenth of a second's worth.
    fn at_once(&self) -> usize {
        (self.per_second as usize / 10).max(1)
    }

    fn took(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let cost = Duration::from_secs(1) * count / self.per_second;
        self.free_at = self.free_at.max(Instant::now()) + cost;
    }
}

impl Replay {
    pub(super) fn new(
        reader: Reader,
        ranges: BTreeMap<u32, Range>,
        filter: Filter,
        per_second: Option<u32>,
    ) -> Self {
        let places = ranges.into_iter().map(|(partition, range)| Place::new(partition, range));
        Self {
            reader,
            places: places.collect(),
            filter,
            pace: per_second.map(|per_second| Pace { per_second, free_at: Instant::now() }),
            delivered: 0,
            turn: 0,
        }
    }

    /// The next messages, up to `max`, in order per partition; none once all were read.
    ///
    /// Cancellation-safe. After an error that is retryable the same call goes on.
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<IncomingMessage>, TransportError> {
        let mut max = max.max(1);
        if let Some(pace) = &self.pace {
            max = max.min(pace.at_once());
            tokio::time::sleep_until(pace.free_at).await;
        }
        while let Some(place) = self.choose() {
            let messages = self.read(place, max).await?;
            if !messages.is_empty() {
                self.delivered += messages.len() as u64;
                if let Some(pace) = &mut self.pace {
                    pace.took(messages.len());
                }
                return Ok(messages);
            }
        }
        Ok(Vec::new())
    }

    /// Where a resumed replay begins: after what was acknowledged.
    pub fn position(&self) -> ReplayPosition {
        let range = |place: &Place| Range { next: place.done, end: place.end };
        let partitions = self.places.iter().map(|place| (place.partition, range(place))).collect();
        ReplayPosition { partitions }
    }

    /// How far it has got.
    pub fn progress(&self) -> ReplayProgress {
        ReplayProgress {
            remaining: self.places.iter().map(|place| place.end - place.next).sum(),
            read: self.places.iter().map(|place| place.next - place.start).sum(),
            delivered: self.delivered,
        }
    }

    /// The next partition in turn that has more.
    fn choose(&mut self) -> Option<usize> {
        let count = self.places.len();
        let mut turn = (0..count).map(|step| (self.turn + step) % count);
        let chosen = turn.find(|&place| self.places[place].next < self.places[place].end)?;
        self.turn = chosen + 1;
        Some(chosen)
    }

    async fn read(
        &mut self,
        place: usize,
        max: usize,
    ) -> Result<Vec<IncomingMessage>, TransportError> {
        let Place { partition, next, end, .. } = self.places[place];
        // As much as may be handed out: what does not match is skipped, what matches is never held back.
        let count = usize::try_from(end - next).unwrap_or(usize::MAX).min(max);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let mut polled = self.reader.poll(partition, PollingStrategy::offset(next), count).await?;
        if polled.is_empty() {
            // What comes next was removed by retention meanwhile; there may be later messages.
            polled = self.reader.poll(partition, PollingStrategy::first(), count).await?;
        }
        polled.retain(|message| (next..end).contains(&message.header.offset));
        let read_to = polled.last().map_or(end, |message| message.header.offset + 1);
        let messages: Vec<_> = polled
            .into_iter()
            .map(|message| incoming::read(partition, message))
            .filter(|message| self.filter.wants(message))
            .collect();
        let last = messages.last().map(|message| message.offset);
        self.places[place].advance(read_to, last);
        Ok(messages)
    }
}

impl Subscription for Replay {
    /// As [`next_batch`](Replay::next_batch); [`TransportError::Closed`] once all was read.
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<IncomingMessage>, TransportError>> {
        Box::pin(async move {
            let messages = self.next_batch(max).await?;
            if messages.is_empty() { Err(TransportError::Closed) } else { Ok(messages) }
        })
    }

    fn acknowledge(
        &mut self,
        partition: u32,
        offset: u64,
    ) -> BoxFuture<'_, Result<(), TransportError>> {
        if let Some(place) = self.places.iter_mut().find(|place| place.partition == partition) {
            place.acknowledge(offset);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
