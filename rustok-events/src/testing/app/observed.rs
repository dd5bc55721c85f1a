//! A transport that writes down what passes through it, so that the kit knows when a group has caught up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::transport::{
    BoxFuture, EventTransport, IncomingMessage, OutgoingMessage, StartFrom, Subscription,
    TopicName, TopicSpec, TransportError,
};

/// What has passed.
#[derive(Debug, Clone, Default)]
pub(super) struct Traffic {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many messages were stored, by topic and partition.
    stored: HashMap<(TopicName, u32), u64>,
    /// How many a group has been handed, and how many it is done with, by group, topic and partition.
    groups: HashMap<(String, TopicName, u32), Place>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    handed_out: u64,
    done: u64,
}

/// A group that has not caught up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Behind {
    pub(super) group: String,
    pub(super) topic: TopicName,
    pub(super) messages: u64,
}

impl Traffic {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something passes, at most for a while.
    pub(super) async fn changed(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.shared.changed.notified()).await;
    }

    /// Which of these groups have not caught up.
    pub(super) fn behind(&self, groups: &[(&'static str, TopicName)]) -> Vec<Behind> {
        let state = self.lock();
        let missing = |(group, topic): &(&'static str, TopicName)| {
            let stored = state.stored.iter().filter(|((name, _), _)| name == topic);
            let messages = stored
                .map(|((_, partition), stored)| {
                    let key = ((*group).to_owned(), topic.clone(), *partition);
                    let place = state.groups.get(&key).copied().unwrap_or_default();
                    // A message that was stored twice after a lost answer is handed out and not counted.
                    (*stored).max(place.handed_out).saturating_sub(place.done)
                })
                .sum();
            Behind { group: (*group).to_owned(), topic: topic.clone(), messages }
        };
        groups.iter().map(missing).filter(|behind| behind.messages > 0).collect()
    }

    fn place(&self, key: &(String, TopicName), partition: u32, change: impl Fn(&mut Place)) {
        let key = (key.0.clone(), key.1.clone(), partition);
        change(self.lock().groups.entry(key).or_default());
        self.shared.changed.notify_waiters();
    }
}

/// A transport under observation.
pub(super) struct Observed<T> {
    pub(super) inner: T,
    pub(super) traffic: Traffic,
}

impl<T: EventTransport> EventTransport for Observed<T> {
    fn provision<'a>(
        &'a self,
        topics: &'a [TopicSpec],
    ) -> BoxFuture<'a, Result<Vec<u32>, TransportError>> {
        self.inner.provision(topics)
    }

    fn publish<'a>(
        &'a self,
        topic: &'a TopicName,
        partition: u32,
        messages: Vec<OutgoingMessage>,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        Box::pin(async move {
            let count = messages.len() as u64;
            self.inner.publish(topic, partition, messages).await?;
            *self.traffic.lock().stored.entry((topic.clone(), partition)).or_default() += count;
            self.traffic.shared.changed.notify_waiters();
            Ok(())
        })
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        topic: &'a TopicName,
        start: StartFrom,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, TransportError>> {
        Box::pin(async move {
            let inner = self.inner.subscribe(group, topic, start).await?;
            let key = (group.to_owned(), topic.clone());
            let traffic = self.traffic.clone();
            Ok(Box::new(ObservedMember { inner, traffic, key }) as Box<dyn Subscription>)
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

struct ObservedMember {
    inner: Box<dyn Subscription>,
    traffic: Traffic,
    key: (String, TopicName),
}

impl Subscription for ObservedMember {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<IncomingMessage>, TransportError>> {
        Box::pin(async move {
            let messages = self.inner.next(max).await?;
            for message in &messages {
                self.traffic.place(&self.key, message.partition, |place| {
                    place.handed_out = place.handed_out.max(message.offset + 1);
                });
            }
            Ok(messages)
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
            self.inner.acknowledge(partition, offset).await?;
            self.traffic
                .place(&self.key, partition, |place| place.done = place.done.max(offset + 1));
            Ok(())
        })
    }
}
