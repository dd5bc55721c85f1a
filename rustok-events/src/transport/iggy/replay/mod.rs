//! Reading again what a topic still has: a part of it, at a bounded rate, from where an earlier attempt stopped.
//!
//! A replay is no group: it stores no offset and disturbs none. What it reads is fixed when it starts, so it ends.

mod position;
mod run;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use iggy::prelude::PollingStrategy;

use self::{position::Range, run::Filter};
pub use self::{
    position::{ReplayPosition, ReplayProgress},
    run::Replay,
};
use super::{IggyTransport, reader::Reader};
use crate::{
    DomainEvent, partition,
    transport::{TopicName, TransportError},
};

/// Says what is read again. Made by [`IggyTransport::replay`].
#[derive(Debug, Clone)]
#[must_use = "nothing is read until `start`"]
pub struct ReplayBuilder {
    transport: IggyTransport,
    topic: TopicName,
    filter: Filter,
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
            filter: Filter::default(),
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
        self.filter.names.push(name.into());
        self
    }

    /// Only events with this partition key: the bytes of the `ce-partitionkey` header.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.filter.key = Some(key.into());
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
        Ok(Replay::new(reader, ranges, self.filter, self.per_second))
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
        let of_key = self.filter.key.as_deref().map(|key| partition::of(key, count));
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
