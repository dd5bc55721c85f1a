//! A broker in memory that a test meddles with while it is used.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use rustok_events::{
    EventTransport, TransportError,
    testing::MemoryTransport,
    transport::{BoxFuture, OutgoingMessage, StartFrom, Subscription, TopicName, TopicSpec},
};

/// A [`MemoryTransport`] that can be away, and can say a count of partitions that is not so. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct MeddledTransport {
    /// The broker.
    pub broker: MemoryTransport,
    is_away: Arc<AtomicBool>,
    count: Arc<AtomicU32>,
}

impl MeddledTransport {
    /// From now on it is away, or back.
    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// From now on every topic has so many partitions, as one has that was made anew between two looks.
    pub fn set_count(&self, count: u32) {
        self.count.store(count, Ordering::Relaxed);
    }

    fn reach<'a, T: Send + 'a>(
        &self,
        call: impl FnOnce() -> BoxFuture<'a, Result<T, TransportError>>,
    ) -> BoxFuture<'a, Result<T, TransportError>> {
        if self.is_connected() {
            call()
        } else {
            Box::pin(std::future::ready(Err(TransportError::Unavailable("nobody answers".into()))))
        }
    }
}

impl EventTransport for MeddledTransport {
    fn provision<'a>(
        &'a self,
        topics: &'a [TopicSpec],
    ) -> BoxFuture<'a, Result<Vec<u32>, TransportError>> {
        self.reach(|| {
            Box::pin(async {
                let mut counts = self.broker.provision(topics).await?;
                let count = self.count.load(Ordering::Relaxed);
                if count > 0 {
                    counts.fill(count);
                }
                Ok(counts)
            })
        })
    }

    fn publish<'a>(
        &'a self,
        topic: &'a TopicName,
        partition: u32,
        messages: Vec<OutgoingMessage>,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        self.reach(|| self.broker.publish(topic, partition, messages))
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        topic: &'a TopicName,
        start: StartFrom,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, TransportError>> {
        self.reach(|| self.broker.subscribe(group, topic, start))
    }

    fn is_connected(&self) -> bool {
        !self.is_away.load(Ordering::Relaxed)
    }

    fn shutdown(&self) -> BoxFuture<'_, Result<(), TransportError>> {
        self.broker.shutdown()
    }
}
