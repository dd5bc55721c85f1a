//! One member of a group on one topic: polls, keeps a lane per partition, acknowledges.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
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
}

/// A batch that ended: everything on the partition up to `offset` has its result; none if `None`.
struct Done {
    partition: u32,
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
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(()),
                Some(done) = self.in_flight.next() => {
                    self.settle(subscription, done).await?;
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
                    Done { partition, offset, result }
                }
                .boxed(),
            );
        }
    }

    /// Acknowledges what a batch got done.
    async fn settle(
        &mut self,
        subscription: &mut dyn Subscription,
        done: Done,
    ) -> Result<(), ConsumerError> {
        self.busy.remove(&done.partition);
        if let Some(offset) = done.offset {
            self.config.faults.broker("consumer.acknowledge.before").await?;
            match subscription.acknowledge(done.partition, offset).await {
                // Its work is another member's now, and done again there. The other partitions go on: a new membership
                // would take theirs from other members in turn. Should the partition come back, the subscription
                // hands out again what is thrown away here.
                Err(TransportError::LostOwnership { partition, .. }) => {
                    tracing::info!(
                        group = self.processor.group, topic = %self.processor.topic, partition,
                        "a partition went to another member"
                    );
                    self.waiting.remove(&partition);
                }
                acknowledged => acknowledged?,
            }
            self.config.faults.broker("consumer.acknowledge.after").await?;
        }
        done.result
    }

    /// Waits for what is in flight, at most as long as a stop may take, and acknowledges it.
    async fn finish(&mut self, subscription: &mut dyn Subscription) -> Result<(), ConsumerError> {
        let deadline = tokio::time::sleep(self.config.drain_timeout);
        tokio::pin!(deadline);
        let mut result = Ok(());
        loop {
            tokio::select! {
                done = self.in_flight.next() => match done {
                    None => return result,
                    // One failed acknowledgement does not keep the others from theirs.
                    Some(done) => result = result.and(self.settle(subscription, done).await),
                },
                () = &mut deadline => {
                    tracing::warn!(group = self.processor.group, "handlers did not finish in time; their events come again");
                    return result;
                }
            }
        }
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
