//! One member of a group on one topic: polls, keeps a lane per partition, acknowledges.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    ConsumerConfig, ConsumerError, Processor,
    lanes::{Batch, Lanes},
    together::{Done, Ended},
};
use crate::{
    backoff::Backoff,
    transport::{EventTransport, IncomingMessage, Subscription, TransportError},
};

/// How many batches of a partition lie here, the one in flight included.
const AHEAD: usize = 4;
/// How long partitions go apart after they could not go together: where one event fails others are likely to.
const APART: Duration = Duration::from_secs(1);

pub(super) struct Member<S> {
    processor: Arc<Processor<S>>,
    transport: Arc<dyn EventTransport>,
    config: ConsumerConfig,
    lanes: Arc<Lanes>,
    /// Partitions do not go together before.
    apart_until: Option<Instant>,
    in_flight: FuturesUnordered<BoxFuture<'static, Result<Ended, ConsumerError>>>,
}

impl<S: Send + Sync + 'static> Member<S> {
    pub(super) fn new(
        processor: Arc<Processor<S>>,
        transport: Arc<dyn EventTransport>,
        config: ConsumerConfig,
    ) -> Self {
        let lanes = Arc::new(Lanes::new(config.batch_size));
        let in_flight = FuturesUnordered::new();
        Self { processor, transport, config, lanes, apart_until: None, in_flight }
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
        self.lanes.clear();
        let finished = self.finish(&mut *subscription).await;
        self.in_flight.clear();
        self.lanes = Arc::new(Lanes::new(self.config.batch_size));
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
            let (waiting, partitions) = self.lanes.waiting();
            let room = self.config.batch_size * AHEAD * (partitions + 1);
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(()),
                Some(ended) = self.in_flight.next() => match ended? {
                    Ended::Done(done) => self.settle(subscription, done).await?,
                    Ended::Apart(batches) => {
                        self.apart_until = Some(Instant::now() + APART);
                        for batch in batches {
                            let (processor, stop) = (Arc::clone(&self.processor), stop.clone());
                            self.start(async move {
                                Ended::Done(vec![processor.handle_one(batch, None, &stop).await])
                            });
                        }
                    }
                },
                polled = poll(subscription, &self.config), if waiting < room => {
                    let messages = polled?;
                    // Not inside `poll`, which may be dropped at any wait: the messages would be lost with it.
                    self.config.faults.broker("consumer.poll.after").await?;
                    backoff.reset();
                    self.lanes.add(messages);
                }
            }
            self.start_lanes(stop);
        }
    }

    /// Starts every lane that has work and nothing in flight.
    fn start_lanes(&mut self, stop: &CancellationToken) {
        let together = self.processor.goes_together()
            && self.apart_until.is_none_or(|until| until <= Instant::now());
        if !together {
            while let Some(batch) = self.lanes.next() {
                self.start_batches(vec![batch], stop);
            }
            return;
        }
        // As much as ever goes in one transaction is read while others have the writer.
        while let Some(batches) = self.lanes.next_full() {
            self.start_batches(batches, stop);
        }
        if self.lanes.wants_writer() {
            let (processor, lanes) = (Arc::clone(&self.processor), Arc::clone(&self.lanes));
            let stop = stop.clone();
            self.start(async move {
                match stop.run_until_cancelled(processor.writer.turn()).await {
                    None => Ended::Done(Vec::new()),
                    Some(turn) => processor.handle(lanes.together(), turn, &stop).await,
                }
            });
        }
    }

    fn start_batches(&mut self, batches: Vec<Batch>, stop: &CancellationToken) {
        let (processor, stop) = (Arc::clone(&self.processor), stop.clone());
        self.start(async move { processor.handle(batches, None, &stop).await });
    }

    fn start(&mut self, work: impl Future<Output = Ended> + Send + 'static) {
        let work = AbortOnDrop(tokio::spawn(work));
        self.in_flight.push(work.join().boxed());
    }

    /// Acknowledges what batches got done. One failed acknowledgement does not keep the others from theirs.
    async fn settle(
        &mut self,
        subscription: &mut dyn Subscription,
        done: Vec<Done>,
    ) -> Result<(), ConsumerError> {
        let mut result = Ok(());
        for Done { partition, offset, result: handled } in done {
            let acknowledged = match offset {
                Some(offset) => self.acknowledge(subscription, partition, offset).await,
                None => Ok(()),
            };
            self.lanes.free(partition);
            result = result.and(acknowledged).and(handled);
        }
        result
    }

    async fn acknowledge(
        &mut self,
        subscription: &mut dyn Subscription,
        partition: u32,
        offset: u64,
    ) -> Result<(), ConsumerError> {
        self.config.faults.broker("consumer.acknowledge.before").await?;
        match subscription.acknowledge(partition, offset).await {
            // Its work is another member's now, and done again there. The other partitions go on: a new membership
            // would take theirs from other members in turn. Should the partition come back, the subscription hands
            // out again what is thrown away here.
            Err(TransportError::LostOwnership { partition, .. }) => {
                tracing::info!(
                    group = self.processor.group, topic = %self.processor.topic, partition,
                    "a partition went to another member"
                );
                self.lanes.forget(partition);
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
                    None => return result,
                    Some(Ok(Ended::Done(done))) => {
                        result = result.and(self.settle(subscription, done).await);
                    }
                    // Nothing of it was done.
                    Some(Ok(Ended::Apart(_))) => {}
                    Some(Err(error)) => result = result.and(Err(error)),
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

/// Spawned work that ends with the member: what is abandoned is rolled back, not left running.
struct AbortOnDrop(tokio::task::JoinHandle<Ended>);

impl AbortOnDrop {
    async fn join(mut self) -> Result<Ended, ConsumerError> {
        (&mut self.0).await.map_err(|error| ConsumerError::Crashed(error.into()))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
