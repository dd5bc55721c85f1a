//! Reading again what a topic still has: a part of it, at a bounded rate, from where an earlier attempt stopped.
//!
//! A replay is no group: it stores no offset and disturbs none. What it reads is fixed when it starts, so it ends.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use iggy::prelude::PollingStrategy;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{IggyTransport, incoming, reader::Reader};
use crate::{
    DomainEvent,
    envelope::header,
    partition,
    transport::{BoxFuture, IncomingMessage, Subscription, TopicName, TransportError},
};

/// Says what is read again. Made by [`IggyTransport::replay`].
#[derive(Debug, Clone)]
#[must_use = "nothing is read until `start`"]
pub struct ReplayBuilder {
    transport: IggyTransport,
    topic: TopicName,
    names: Vec<String>,
    key: Option<Vec<u8>>,
    partition: Option<u32>,
    from: Bound,
    to: Bound,
    per_second: Option<u32>,
    resume: Option<ReplayPosition>,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    /// The beginning or the end of what there is.
    None,
    Time(DateTime<Utc>),
    Offset(u64),
}

impl ReplayBuilder {
    pub(super) fn new(transport: IggyTransport, topic: TopicName) -> Self {
        Self {
            transport,
            topic,
            names: Vec::new(),
            key: None,
            partition: None,
            from: Bound::None,
            to: Bound::None,
            per_second: None,
            resume: None,
        }
    }

    /// Only events of this type; may be called for several.
    pub fn events<E: DomainEvent>(self) -> Self {
        E::DESCRIPTORS.iter().fold(self, |builder, event| builder.event_name(event.name))
    }

    /// Only events of this name, such as `order_placed`; may be called for several.
    pub fn event_name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Only events with this partition key: the bytes of the `ce-partitionkey` header.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Only this partition, from 0.
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// From the first message that the broker stored at this time or later.
    pub fn from_time(mut self, time: DateTime<Utc>) -> Self {
        self.from = Bound::Time(time);
        self
    }

    /// From this offset of each partition that is read.
    pub fn from_offset(mut self, offset: u64) -> Self {
        self.from = Bound::Offset(offset);
        self
    }

    /// Up to the last message that the broker stored before this time.
    pub fn to_time(mut self, time: DateTime<Utc>) -> Self {
        self.to = Bound::Time(time);
        self
    }

    /// Up to and without this offset of each partition that is read.
    pub fn to_offset(mut self, offset: u64) -> Self {
        self.to = Bound::Offset(offset);
        self
    }

    /// At most so many messages a second.
    pub fn rate(mut self, per_second: u32) -> Self {
        self.per_second = Some(per_second.max(1));
        self
    }

    /// Goes on where an earlier replay of the topic stopped, to where it would have ended. What was said of a
    /// beginning and an end does not count; say the same of events and key.
    pub fn resume(mut self, position: ReplayPosition) -> Self {
        self.resume = Some(position);
        self
    }

    /// Connects and fixes what is read.
    ///
    /// # Errors
    /// [`TransportError::NotFound`] if the topic does not exist, [`TransportError::Config`] if it has no such
    /// partition.
    pub async fn start(self) -> Result<Replay, TransportError> {
        let mut reader = self.transport.reader(&self.topic).await?;
        let ranges = match &self.resume {
            Some(position) => position.partitions.clone(),
            None => self.ranges(&mut reader).await?,
        };
        let places = ranges.into_iter().map(|(partition, range)| Place::new(partition, range));
        Ok(Replay {
            reader,
            places: places.collect(),
            names: self.names,
            key: self.key,
            pace: self.per_second.map(|per_second| Pace { per_second, free_at: Instant::now() }),
            delivered: 0,
            turn: 0,
        })
    }

    async fn ranges(&self, reader: &mut Reader) -> Result<BTreeMap<u32, Range>, TransportError> {
        let ends = reader.ends().await?;
        let count = u32::try_from(ends.len()).unwrap_or(u32::MAX);
        if let Some(partition) = self.partition.filter(|partition| *partition >= count) {
            return Err(TransportError::Config(format!(
                "`{}` has {count} partitions, counted from 0: there is no partition {partition}",
                self.topic
            )));
        }
        // A key lies on one partition.
        let of_key = self.key.as_deref().map(|key| partition::of(key, count));
        let mut ranges = BTreeMap::new();
        for (partition, end) in (0..count).zip(ends) {
            let wanted = |choice: Option<u32>| choice.is_none_or(|choice| choice == partition);
            if !wanted(self.partition) || !wanted(of_key) {
                continue;
            }
            let first = reader.offset_at(partition, PollingStrategy::first()).await?;
            let first = first.unwrap_or(end);
            let from = match self.from {
                Bound::None => first,
                Bound::Offset(offset) => offset.max(first),
                Bound::Time(time) => reader.first_since(partition, time).await?,
            };
            let to = match self.to {
                Bound::None => end,
                Bound::Offset(offset) => offset.min(end),
                Bound::Time(time) => reader.first_since(partition, time).await?,
            };
            ranges.insert(partition, Range { next: from.min(to), end: to });
        }
        Ok(ranges)
    }
}

/// Where a replay stands, to be kept and [resumed](ReplayBuilder::resume).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReplayPosition {
    partitions: BTreeMap<u32, Range>,
}

/// Offsets from `next` up to and without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Range {
    next: u64,
    end: u64,
}

/// How far a replay has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReplayProgress {
    /// How many messages are still to be looked at.
    pub remaining: u64,
    /// How many were looked at.
    pub read: u64,
    /// How many of them were handed out.
    pub delivered: u64,
}

/// A replay under way: a [`Subscription`] whose acknowledgements move nothing but [`position`](Self::position).
#[derive(Debug)]
pub struct Replay {
    reader: Reader,
    places: Vec<Place>,
    names: Vec<String>,
    key: Option<Vec<u8>>,
    pace: Option<Pace>,
    delivered: u64,
    turn: usize,
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
            .filter(|message| self.wants(message))
            .collect();
        let last = messages.last().map(|message| message.offset);
        self.places[place].advance(read_to, last);
        Ok(messages)
    }

    fn wants(&self, message: &IncomingMessage) -> bool {
        let header = |name| message.headers.get(name).map(Vec::as_slice);
        let name = header(header::TYPE);
        (self.names.is_empty() || self.names.iter().any(|wanted| name == Some(wanted.as_bytes())))
            && (self.key.is_none() || header(header::PARTITION_KEY) == self.key.as_deref())
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
