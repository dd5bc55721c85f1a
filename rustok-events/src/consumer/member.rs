//! One member of a group on one topic: polls, keeps a lane per partition, acknowledges.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ConsumerConfig, ConsumerError, Processor};
use crate::{
    backoff::Backoff,
    transport::{EventTransport, IncomingMessage, Subscription, TransportError},
};

/// How many batches of a partition lie here, the one in flight included.
const AHEAD: usize = 4;

pub(super) struct Member<S> {
    processor: Arc<Processor<S>>,
    transport: Arc<dyn EventTransport>,
    config: ConsumerConfig,
    /// Polled and not yet being processed, by partition, in order.
    waiting: HashMap<u32, VecDeque<IncomingMessage>>,
    /// Partitions with a batch in flight.
    busy: HashSet<u32>,
    in_flight: FuturesUnordered<BoxFuture<'static, Done>>,
    acknowledged: HashMap<u32, Acknowledged>,
}

/// How far the work on a partition was acknowledged.
#[derive(Default)]
struct Acknowledged {
    at: Option<Instant>,
    /// What is done since, up to this offset.
    due: Option<u64>,
    /// How many events that is.
    events: usize,
    /// Whether the batch in flight is of before the partition went to another member, who may be further by now.
    is_lost: bool,
}

impl Acknowledged {
    /// When it is time for what is done since; `None` if nothing is. As many as a batch may have are not waited with:
    /// the subscription hands out only so many beyond what is acknowledged.
    fn due_at(&self, config: &ConsumerConfig, now: Instant) -> Option<Instant> {
        self.due?;
        let at = self.at.filter(|_| self.events < config.batch_size);
        Some(at.map_or(now, |at| at + config.acknowledge_every))
    }
}

/// A batch that ended: everything on the partition up to `offset` has its result; none if `None`.
struct Done {
    partition: u32,
    events: usize,
    offset: Option<u64>,
    result: Result<(), ConsumerError>,
}

impl<S: Send + Sync + 'static> Member<S> {
    pub(super) fn new(
        processor: Arc<Processor<S>>,
        transport: Arc<dyn EventTransport>,
        config: ConsumerConfig,
    ) -> Self {
        Self {
            processor,
            transport,
            config,
            waiting: HashMap::new(),
            busy: HashSet::new(),
            in_flight: FuturesUnordered::new(),
            acknowledged: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self, token: CancellationToken) -> Result<(), ConsumerError> {
        let mut backoff = Backoff::new(self.config.min_backoff, self.config.max_backoff);
        while !token.is_cancelled() {
            match self.join_and_consume(&token, &mut backoff).await {
                Ok(()) => return Ok(()),
                Err(ConsumerError::Transport(error)) if error.mends_with_provisioning() => {
                    let pause = backoff.next();
                    tracing::warn!(
                        code = error.code(), %error, retry_in = ?pause,
                        group = self.processor.group, topic = %self.processor.topic,
                        "consumer starts again"
                    );
                    token.run_until_cancelled(tokio::time::sleep(pause)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One membership, from joining the group to leaving it. Ends with nothing in flight, so that the work of two
    /// memberships never mixes.
    async fn join_and_consume(
        &mut self,
        token: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Result<(), ConsumerError> {
        let processor = Arc::clone(&self.processor);
        let join = async {
            self.config.faults.broker("consumer.join.before").await?;
            let start = self.config.start_from;
            let joined = self.transport.subscribe(processor.group, &processor.topic, start).await?;
            self.config.faults.broker("consumer.join.after").await?;
            Ok::<_, TransportError>(joined)
        };
        let Some(joined) = token.run_until_cancelled(join).await else { return Ok(()) };
        let mut subscription = joined?;
        subscription.bound(self.config.batch_size.saturating_mul(AHEAD));
        let stop = token.child_token();
        let consumed = self.consume(&mut *subscription, token, &stop, backoff).await;
        // What is in flight finishes its transaction and starts nothing new.
        stop.cancel();
        self.waiting.clear();
        let finished = self.finish(&mut *subscription).await;
        self.in_flight.clear();
        self.busy.clear();
        self.acknowledged.clear();
        consumed.and(finished)
    }

    async fn consume(
        &mut self,
        subscription: &mut dyn Subscription,
        token: &CancellationToken,
        stop: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Result<(), ConsumerError> {
        loop {
            // The subscription bounds what lies here of each partition; this bounds it for one that does not.
            let room = self.config.batch_size * AHEAD * (self.waiting.len() + 1);
            let waiting: usize = self.waiting.values().map(VecDeque::len).sum();
            let now = Instant::now();
            let due_at = |done: &Acknowledged| done.due_at(&self.config, now);
            let due_at = self.acknowledged.values().filter_map(due_at).min();
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(()),
                Some(done) = self.in_flight.next() => {
                    self.settle(done)?;
                }
                () = tokio::time::sleep_until(due_at.unwrap_or(now)), if due_at.is_some() => {
                    self.acknowledge(subscription, false).await?;
                }
                polled = poll(subscription, &self.config), if waiting < room => {
                    let messages = polled?;
                    // Not inside `poll`, which may be dropped at any wait: the messages would be lost with it.
                    self.config.faults.broker("consumer.poll.after").await?;
                    backoff.reset();
                    for message in messages {
                        self.waiting.entry(message.partition).or_default().push_back(message);
                    }
                }
            }
            self.start_lanes(stop);
        }
    }

    /// Starts every lane that has work and nothing in flight.
    fn start_lanes(&mut self, stop: &CancellationToken) {
        for (&partition, waiting) in &mut self.waiting {
            if waiting.is_empty() || !self.busy.insert(partition) {
                continue;
            }
            let take = waiting.len().min(self.config.batch_size);
            let batch: Vec<_> = waiting.drain(..take).collect();
            let (processor, stop) = (Arc::clone(&self.processor), stop.clone());
            let work = tokio::spawn(async move { processor.process(batch, &stop).await });
            let work = AbortOnDrop(work);
            self.in_flight.push(
                async move {
                    let (offset, result) = work.join().await;
                    Done { partition, events: take, offset, result }
                }
                .boxed(),
            );
        }
    }

    /// Takes over what a batch got done.
    fn settle(&mut self, done: Done) -> Result<(), ConsumerError> {
        self.busy.remove(&done.partition);
        let acknowledged = self.acknowledged.entry(done.partition).or_default();
        let is_lost = std::mem::take(&mut acknowledged.is_lost);
        if !is_lost && done.offset.is_some() {
            acknowledged.due = done.offset;
            acknowledged.events += done.events;
        }
        done.result
    }

    /// Acknowledges what is done where it is time, or everywhere. One that fails does not keep the others from theirs.
    async fn acknowledge(
        &mut self,
        subscription: &mut dyn Subscription,
        everywhere: bool,
    ) -> Result<(), ConsumerError> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (&partition, done) in &mut self.acknowledged {
            if (everywhere || done.due_at(&self.config, now).is_some_and(|at| at <= now))
                && let Some(offset) = done.due.take()
            {
                (done.at, done.events) = (Some(now), 0);
                due.push((partition, offset));
            }
        }
        let mut result = Ok(());
        for (partition, offset) in due {
            let acknowledged = self.acknowledge_one(subscription, partition, offset).await;
            result = result.and(acknowledged);
        }
        result
    }

    async fn acknowledge_one(
        &mut self,
        subscription: &mut dyn Subscription,
        partition: u32,
        offset: u64,
    ) -> Result<(), ConsumerError> {
        self.config.faults.broker("consumer.acknowledge.before").await?;
        match subscription.acknowledge(partition, offset).await {
            // Its work is another member's now, and done again there. The other partitions go on: a new membership
            // would take theirs from other members in turn. Should the partition come back, the subscription hands out
            // again what is thrown away here.
            Err(TransportError::LostOwnership { partition, .. }) => {
                tracing::info!(
                    group = self.processor.group, topic = %self.processor.topic, partition,
                    "a partition went to another member"
                );
                self.waiting.remove(&partition);
                let in_flight = self.busy.contains(&partition);
                let acknowledged = Acknowledged { is_lost: in_flight, ..Acknowledged::default() };
                self.acknowledged.insert(partition, acknowledged);
            }
            acknowledged => acknowledged?,
        }
        self.config.faults.broker("consumer.acknowledge.after").await?;
        Ok(())
    }

    /// Waits for what is in flight, at most as long as a stop may take, and acknowledges it.
    async fn finish(&mut self, subscription: &mut dyn Subscription) -> Result<(), ConsumerError> {
        let deadline = tokio::time::sleep(self.config.drain_timeout);
        tokio::pin!(deadline);
        let mut result = Ok(());
        loop {
            tokio::select! {
                done = self.in_flight.next() => match done {
                    None => break,
                    Some(done) => result = result.and(self.settle(done)),
                },
                () = &mut deadline => {
                    tracing::warn!(group = self.processor.group, "handlers did not finish in time; their events come again");
                    break;
                }
            }
        }
        result.and(self.acknowledge(subscription, true).await)
    }
}

async fn poll(
    subscription: &mut dyn Subscription,
    config: &ConsumerConfig,
) -> Result<Vec<IncomingMessage>, TransportError> {
    config.faults.broker("consumer.poll.before").await?;
    subscription.next(config.batch_size).await
}

/// A spawned batch that ends with the member: an abandoned one is rolled back, not left running.
struct AbortOnDrop(tokio::task::JoinHandle<(Option<u64>, Result<(), ConsumerError>)>);

impl AbortOnDrop {
    async fn join(mut self) -> (Option<u64>, Result<(), ConsumerError>) {
        match (&mut self.0).await {
            Ok(done) => done,
            Err(error) => (None, Err(ConsumerError::Crashed(error.into()))),
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
