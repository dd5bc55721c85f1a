//! A broker in memory that a test meddles with while it is used.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

use rustok_events::{
    EventTransport, TransportError,
    testing::MemoryTransport,
    transport::{BoxFuture, OutgoingMessage, StartFrom, Subscription, TopicName, TopicSpec},
};

/// A [`MemoryTransport`] that can be away, can refuse what it is told to, can take few messages at once only, and can say
/// a count of partitions that is not so. It remembers what it took in the order it came. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct MeddledTransport {
    /// The broker.
    pub broker: MemoryTransport,
    is_away: Arc<AtomicBool>,
    missed: Arc<AtomicU32>,
    count: Arc<AtomicU32>,
    /// The most messages that it takes at once; 0 for any number.
    most: Arc<AtomicUsize>,
    refused: Arc<Mutex<Vec<String>>>,
    taken: Arc<Mutex<Vec<OutgoingMessage>>>,
}

impl MeddledTransport {
    /// From now on it is away, or back.
    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// How many calls found it away.
    pub fn missed(&self) -> u32 {
        self.missed.load(Ordering::Relaxed)
    }

    /// From now on every topic has so many partitions, as one has that was made anew between two looks.
    pub fn set_count(&self, count: u32) {
        self.count.store(count, Ordering::Relaxed);
    }

    /// From now on it takes at most so many messages at once: of more it gives up after a half, as one does that is slow.
    pub fn set_most(&self, messages: usize) {
        self.most.store(messages, Ordering::Relaxed);
    }

    /// From now on it refuses, for good, messages whose payload ends with one of these texts, and no others.
    pub fn refuse(&self, endings: impl IntoIterator<Item = String>) {
        *self.refused.lock().unwrap() = endings.into_iter().collect();
    }

    /// What it took, over all topics and partitions, in the order it came.
    pub fn taken(&self) -> Vec<OutgoingMessage> {
        self.taken.lock().unwrap().clone()
    }

    fn refuses(&self, message: &OutgoingMessage) -> bool {
        let endings = self.refused.lock().unwrap();
        endings.iter().any(|ending| message.payload.ends_with(ending.as_bytes()))
    }

    fn reach<'a, T: Send + 'a>(
        &self,
        call: impl FnOnce() -> BoxFuture<'a, Result<T, TransportError>>,
    ) -> BoxFuture<'a, Result<T, TransportError>> {
        if self.is_connected() {
            call()
        } else {
            self.missed.fetch_add(1, Ordering::Relaxed);
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
        mut messages: Vec<OutgoingMessage>,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        self.reach(|| {
            if let Some(message) = messages.iter().find(|message| self.refuses(message)) {
                // A text that fits into no column, and that PostgreSQL would not store at all.
                let source = format!("\0not this one: {}", "\u{1F980}".repeat(100_000));
                let (id, source) = (message.id, source.into());
                return Box::pin(std::future::ready(Err(TransportError::Refused { id, source })));
            }
            let most = self.most.load(Ordering::Relaxed);
            let is_too_much = most > 0 && messages.len() > most;
            if is_too_much {
                messages.truncate(messages.len() / 2);
            }
            self.taken.lock().unwrap().extend(messages.iter().cloned());
            Box::pin(async move {
                self.broker.publish(topic, partition, messages).await?;
                if is_too_much {
                    let source = format!("it takes {most} at once").into();
                    return Err(TransportError::Unavailable(source));
                }
                Ok(())
            })
        })
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
