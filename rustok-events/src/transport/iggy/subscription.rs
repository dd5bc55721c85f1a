//! A member of a consumer group as the seam has it: asks the partitions there is news of, stores offsets only when
//! told to.

use std::sync::Arc;

use futures::FutureExt as _;
use iggy::prelude::{PolledMessages, PollingStrategy};
use tokio::{sync::watch, time::Instant};

use super::{
    client::Connection,
    cursor::Cursor,
    incoming,
    seat::Seat,
    signal::News,
    watch::{self as topic_watch, Watcher},
};
use crate::transport::{
    BoxFuture, IncomingMessage, StartFrom, Subscription, TopicName, TransportError,
};

/// One member of a group on one topic.
pub(super) struct Member {
    seat: Arc<Seat>,
    news: watch::Receiver<Vec<News>>,
    cursors: Vec<Cursor>,
    /// The poll under way. Kept when a call of `next` is dropped, so that its answer is not lost.
    polling: Option<Poll>,
    /// What a poll brought beyond the `max` of its caller.
    rest: Vec<IncomingMessage>,
    turn: usize,
    /// A partition with so many messages handed out and not acknowledged waits.
    bound: u64,
    _watcher: Arc<Watcher>,
}

struct Poll {
    partition: usize,
    news: News,
    answer: BoxFuture<'static, Result<PolledMessages, TransportError>>,
}

/// A partition's number as the seam has it. There are never more than `u32` counts.
fn number(partition: usize) -> u32 {
    u32::try_from(partition).unwrap_or(u32::MAX)
}

impl Member {
    /// Joins the group, which is made if it is not there.
    pub(super) async fn join(
        connection: Connection,
        watcher: Arc<Watcher>,
        group: &str,
        topic: &TopicName,
        start: StartFrom,
    ) -> Result<Self, TransportError> {
        let seat = Seat::join(connection, group, topic).await?;
        let (places, ends) = places(&seat, seat.is_new && start == StartFrom::End).await?;
        // What is there already is read without waiting for the watcher's first look.
        watcher.signal.at_least(&ends);
        Ok(Self {
            seat: Arc::new(seat),
            news: watcher.signal.subscribe(),
            cursors: places.into_iter().map(Cursor::after).collect(),
            polling: None,
            rest: Vec::new(),
            turn: 0,
            bound: u64::MAX,
            _watcher: watcher,
        })
    }

    /// The partition to ask next: one with news, the one with the least work at hand first, in turn among equals. One
    /// with too much at hand waits.
    fn choose(&mut self) -> Option<(usize, News)> {
        let now = Instant::now();
        let news = self.news.borrow_and_update();
        let news = |partition: usize| news.get(partition).copied().unwrap_or_default();
        let count = self.cursors.len();
        let chosen = (0..count)
            .map(|step| (self.turn + step) % count)
            .filter(|&partition| self.cursors[partition].unacknowledged() < self.bound)
            .filter(|&partition| self.cursors[partition].is_ready(news(partition), now))
            .min_by_key(|&partition| self.cursors[partition].unacknowledged())?;
        self.turn = (chosen + 1) % count;
        Some((chosen, news(chosen)))
    }

    /// Finds out what became of a partition that gave nothing although it has messages.
    async fn clear_up(&mut self, partition: usize) -> Result<(), TransportError> {
        let seat = &self.seat;
        let cursor = &mut self.cursors[partition];
        if let Some(stored) = seat.stored(number(partition)).await? {
            cursor.skip_to(stored + 1);
        }
        // If it is ours, then what comes next was removed by retention, and there may be later messages.
        let first = seat.poll(number(partition), PollingStrategy::first(), 1).await?;
        let first = first.messages.first().map(|message| message.header.offset);
        if let (Some(first), Some(next)) = (first, cursor.next())
            && next < first
        {
            tracing::warn!(
                group = seat.group, topic = %seat.topic, partition, next, first,
                "messages were removed before the group had read them"
            );
            cursor.skip_to(first);
        }
        Ok(())
    }

    /// Makes sure that a partition that was seen to begin anew has what was read of it. If it has not, its topic was
    /// made anew or emptied, and a new membership finds out where to begin.
    async fn make_sure(&mut self, partition: usize) -> Result<(), TransportError> {
        let seat = &self.seat;
        // What was read is in this answer. The news may be of a look before it.
        let ends = topic_watch::ends(&seat.details().await?);
        let end = ends.get(partition).copied().unwrap_or(0);
        match self.cursors[partition].next() {
            Some(next) if next > end => {
                tracing::warn!(
                    group = seat.group, topic = %seat.topic, partition, next, end,
                    "the partition ends before what was read of it"
                );
                seat.connection.lost().cancel();
                let what = format!("partition {partition} of `{}` has begun anew", seat.topic);
                Err(TransportError::Unavailable(what.into()))
            }
            _ => Ok(()),
        }
    }

    /// Starts to ask a partition.
    fn start_poll(&mut self, partition: usize, news: News, max: usize) {
        let count = u32::try_from(max).unwrap_or(u32::MAX);
        let next = self.cursors[partition].next();
        let strategy = next.map_or_else(PollingStrategy::next, PollingStrategy::offset);
        let seat = Arc::clone(&self.seat);
        let answer = async move { seat.poll(number(partition), strategy, count).await };
        self.polling = Some(Poll { partition, news, answer: answer.boxed() });
    }

    /// Takes over an answer.
    fn take(
        &mut self,
        partition: usize,
        news: News,
        polled: PolledMessages,
    ) -> Vec<IncomingMessage> {
        let cursor = &mut self.cursors[partition];
        let from = cursor.next().unwrap_or(0);
        let mut polled = polled.messages;
        if polled.first().is_some_and(|first| first.header.offset < from) {
            polled.retain(|message| message.header.offset >= from);
        }
        let partition = number(partition);
        let messages: Vec<_> =
            polled.into_iter().map(|message| incoming::read(partition, message)).collect();
        match messages.last() {
            Some(last) => cursor.read(last.offset, messages.len() as u64, news),
            None => cursor.found_nothing(news, Instant::now()),
        }
        messages
    }

    async fn receive(&mut self, max: usize) -> Result<Vec<IncomingMessage>, TransportError> {
        let max = max.max(1);
        if !self.rest.is_empty() {
            return Ok(self.rest.drain(..max.min(self.rest.len())).collect());
        }
        loop {
            if let Some(poll) = &mut self.polling {
                let (partition, news) = (poll.partition, poll.news);
                let answer = (&mut poll.answer).await;
                self.polling = None;
                let mut messages = self.take(partition, news, answer?);
                if !messages.is_empty() {
                    self.rest = messages.split_off(max.min(messages.len()));
                    return Ok(messages);
                }
            }
            match self.choose() {
                Some((partition, news)) => {
                    if self.cursors[partition].is_suspect() {
                        self.clear_up(partition).await?;
                    }
                    if self.cursors[partition].may_be_ahead(news) {
                        self.make_sure(partition).await?;
                    }
                    self.start_poll(partition, news, max);
                }
                None => self.wait().await?,
            }
        }
    }

    /// Waits for news, for the end of a rest, or for the loss of the connection.
    async fn wait(&mut self) -> Result<(), TransportError> {
        let wakes_at = self.cursors.iter().filter_map(Cursor::wakes_at).min();
        let rested = async {
            match wakes_at {
                Some(instant) => tokio::time::sleep_until(instant).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.news.changed() => changed.map_err(|_| TransportError::Closed),
            () = self.seat.connection.lost().cancelled() => {
                Err(TransportError::Unavailable("the connection was lost".into()))
            }
            () = rested => Ok(()),
        }
    }
}

/// Finds the last offset of each partition that the group is done with, and the offset after its last message. What
/// was stored is asked for before the ends are: a group in motion then never seems to be ahead of its topic.
async fn places(seat: &Seat, at_end: bool) -> Result<(Vec<Option<u64>>, Vec<u64>), TransportError> {
    let count = seat.details().await?.partitions_count;
    let mut places = Vec::new();
    for partition in 0..count {
        places.push(seat.stored(partition).await?);
    }
    let ends = topic_watch::ends(&seat.details().await?);
    for ((partition, place), &end) in (0..count).zip(&mut places).zip(&ends) {
        if at_end && place.is_none() && end > 0 {
            // Stored, not just remembered: the group begins there also if it handles nothing before a restart.
            match seat.store(partition, end - 1).await {
                Ok(()) => *place = Some(end - 1),
                Err(TransportError::LostOwnership { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match *place {
            // An empty partition and one whose only message was removed look the same.
            Some(0) if end == 0 => *place = None,
            Some(stored) if stored >= end => {
                return Err(TransportError::LogLostTail {
                    group: seat.group.clone(),
                    topic: seat.topic.clone(),
                    partition,
                    stored,
                    end,
                });
            }
            _ => {}
        }
    }
    Ok((places, ends))
}

impl Subscription for Member {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<IncomingMessage>, TransportError>> {
        Box::pin(self.receive(max))
    }

    fn bound(&mut self, unacknowledged: usize) {
        self.bound = unacknowledged as u64;
    }

    fn acknowledge(
        &mut self,
        partition: u32,
        offset: u64,
    ) -> BoxFuture<'_, Result<(), TransportError>> {
        let seat = Arc::clone(&self.seat);
        Box::pin(async move {
            let stored = seat.store(partition, offset).await;
            let Some(cursor) = self.cursors.get_mut(partition as usize) else { return stored };
            match &stored {
                Ok(()) => cursor.acknowledge(offset),
                Err(TransportError::LostOwnership { .. }) => {
                    cursor.lose(Instant::now());
                    self.rest.retain(|message| message.partition != partition);
                    // Its answer continues what is no longer ours.
                    self.polling.take_if(|poll| poll.partition == partition as usize);
                }
                Err(_) => {}
            }
            stored
        })
    }
}
