//! A broker that fails: wraps any transport, and does to it what brokers and networks do.

use std::{collections::VecDeque, fmt, sync::Arc};

use futures::FutureExt as _;

use crate::{
    fault::{Fault, Faults},
    transport::{
        BoxFuture, EventTransport, IncomingMessage, OutgoingMessage, StartFrom, Subscription,
        TopicName, TopicSpec, TransportError,
    },
};

/// Sees every offset just before the broker stores it.
pub trait AcknowledgeObserver: Send + Sync + 'static {
    /// A member of `group` is about to store that everything on the partition up to `offset` is done.
    fn acknowledging<'a>(
        &'a self,
        group: &'a str,
        topic: &'a TopicName,
        partition: u32,
        offset: u64,
    ) -> BoxFuture<'a, ()>;
}

/// Wraps a transport and, at the points named in [`BROKER_POINTS`](super::BROKER_POINTS), does what a broker may do:
/// loses the connection, stores a batch twice or in part, hands out messages again or another partition's first,
/// gives partitions to another member.
///
/// All of it is allowed by the seam: a program that keeps its promises keeps them over this transport.
#[derive(Clone)]
pub struct FaultyTransport<T> {
    inner: Arc<T>,
    faults: Faults,
    observer: Option<Arc<dyn AcknowledgeObserver>>,
    refusal: Option<Arc<Refusal>>,
}

/// Which messages a broker refuses for good.
type Refusal = dyn Fn(&OutgoingMessage) -> bool + Send + Sync;

impl<T: EventTransport> FaultyTransport<T> {
    /// Wraps `inner`; `faults` decides what goes wrong.
    pub fn new(inner: T, faults: Faults) -> Self {
        Self { inner: Arc::new(inner), faults, observer: None, refusal: None }
    }

    /// Has every acknowledgement seen before it is stored.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn AcknowledgeObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Has messages refused for good, for as long as `refusal` says so. What comes before one in its batch is stored.
    #[must_use]
    pub fn refusing(
        mut self,
        refusal: impl Fn(&OutgoingMessage) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.refusal = Some(Arc::new(refusal));
        self
    }

    fn first_refused(&self, messages: &[OutgoingMessage]) -> Option<usize> {
        let refusal = self.refusal.as_ref()?;
        messages.iter().position(|message| refusal(message))
    }
}

fn away(what: &str) -> TransportError {
    TransportError::Unavailable(format!("the broker was cut off during {what}").into())
}

impl<T: EventTransport> EventTransport for FaultyTransport<T> {
    fn provision<'a>(
        &'a self,
        topics: &'a [TopicSpec],
    ) -> BoxFuture<'a, Result<Vec<u32>, TransportError>> {
        Box::pin(async move {
            match self.faults.due("broker.provision") {
                Some(_) => Err(away("provision")),
                None => self.inner.provision(topics).await,
            }
        })
    }

    fn publish<'a>(
        &'a self,
        topic: &'a TopicName,
        partition: u32,
        mut messages: Vec<OutgoingMessage>,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        Box::pin(async move {
            match self.faults.due("broker.publish") {
                Some(Fault::Duplicate) if self.first_refused(&messages).is_none() => {
                    self.inner.publish(topic, partition, messages.clone()).await?;
                }
                Some(Fault::Duplicate) | None => {}
                Some(Fault::Torn) => {
                    let most = self.first_refused(&messages).unwrap_or(messages.len() / 2);
                    messages.truncate(most);
                    self.inner.publish(topic, partition, messages).await?;
                    return Err(away("publish"));
                }
                Some(_) => return Err(away("publish")),
            }
            if let Some(place) = self.first_refused(&messages) {
                let id = messages[place].id;
                messages.truncate(place);
                if !messages.is_empty() {
                    self.inner.publish(topic, partition, messages).await?;
                }
                return Err(TransportError::Refused { id, source: "not this one".into() });
            }
            self.inner.publish(topic, partition, messages).await
        })
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        topic: &'a TopicName,
        start: StartFrom,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, TransportError>> {
        Box::pin(async move {
            if self.faults.due("broker.subscribe").is_some() {
                return Err(away("subscribe"));
            }
            let inner = self.inner.subscribe(group, topic, start).await?;
            let subscription = FaultySubscription {
                inner,
                transport: Arc::clone(&self.inner),
                faults: self.faults.clone(),
                observer: self.observer.clone(),
                group: group.to_owned(),
                topic: topic.clone(),
                start,
                ready: VecDeque::new(),
                last: Vec::new(),
            };
            Ok(Box::new(subscription) as Box<dyn Subscription>)
        })
    }

    fn retention<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<std::time::Duration>, TransportError>> {
        self.inner.retention(topic)
    }

    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }

    fn shutdown(&self) -> BoxFuture<'_, Result<(), TransportError>> {
        self.inner.shutdown()
    }
}

impl<T> fmt::Debug for FaultyTransport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyTransport").field("faults", &self.faults).finish_non_exhaustive()
    }
}

struct FaultySubscription<T> {
    inner: Box<dyn Subscription>,
    transport: Arc<T>,
    faults: Faults,
    observer: Option<Arc<dyn AcknowledgeObserver>>,
    group: String,
    topic: TopicName,
    start: StartFrom,
    /// Batches taken from the broker and not yet handed out.
    ready: VecDeque<Vec<IncomingMessage>>,
    /// The batch handed out last.
    last: Vec<IncomingMessage>,
}

impl<T: EventTransport> FaultySubscription<T> {
    /// Lets another member join, which takes partitions, does nothing and leaves after a while.
    async fn rebalance(&mut self) -> Result<(), TransportError> {
        let other = self.transport.subscribe(&self.group, &self.topic, self.start).await?;
        let faults = self.faults.clone();
        tokio::spawn(async move {
            faults.stand_still().await;
            drop(other);
        });
        Ok(())
    }

    /// Takes another batch if there is one, and puts it first if it is another partition's.
    fn reorder(&mut self, max: usize) {
        let Some(Ok(later)) = self.inner.next(max).now_or_never() else { return };
        let partition = |batch: &[IncomingMessage]| batch.first().map(|message| message.partition);
        let same = self.ready.iter().any(|batch| partition(batch) == partition(&later));
        if same {
            self.ready.push_back(later);
        } else {
            self.ready.push_front(later);
        }
    }
}

impl<T: EventTransport> Subscription for FaultySubscription<T> {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<IncomingMessage>, TransportError>> {
        Box::pin(async move {
            if self.ready.is_empty() {
                let batch = self.inner.next(max).await?;
                // Kept before anything else is waited for: a dropped call loses no message.
                self.ready.push_back(batch);
                match self.faults.due("broker.next") {
                    Some(Fault::Duplicate) if !self.last.is_empty() => {
                        self.ready.push_front(self.last.clone());
                    }
                    Some(Fault::Reorder) => self.reorder(max),
                    Some(Fault::Rebalance) => self.rebalance().await?,
                    Some(Fault::Disconnect) => return Err(away("next")),
                    _ => {}
                }
            }
            let batch = self.ready.pop_front().unwrap_or_default();
            self.last.clone_from(&batch);
            Ok(batch)
        })
    }

    fn bound(&mut self, unacknowledged: usize) {
        self.inner.bound(unacknowledged);
    }

    fn acknowledge(
        &mut self,
        partition: u32,
        offset: u64,
    ) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            match self.faults.due("broker.acknowledge") {
                Some(Fault::Rebalance) => self.rebalance().await?,
                Some(_) => return Err(away("acknowledge")),
                None => {}
            }
            if let Some(observer) = &self.observer {
                observer.acknowledging(&self.group, &self.topic, partition, offset).await;
            }
            let stored = self.inner.acknowledge(partition, offset).await;
            if let Err(TransportError::LostOwnership { .. }) = &stored {
                // Should it come back, it is handed out again from what the group is done with then.
                let lost = |message: &IncomingMessage| message.partition == partition;
                self.ready.iter_mut().for_each(|batch| batch.retain(|message| !lost(message)));
                self.ready.retain(|batch| !batch.is_empty());
                self.last.retain(|message| !lost(message));
            }
            stored
        })
    }
}
