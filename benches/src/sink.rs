//! Where measured events end: a transport that counts everything, and stores nothing or hands it on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustok_events::{
    EventTransport, TransportError,
    iggy::IggyTransport,
    transport::{BoxFuture, OutgoingMessage, StartFrom, Subscription, TopicName, TopicSpec},
};

use crate::sample::{self, KEYS};

/// A sink. Clones share what was counted.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    seen: Arc<Seen>,
    /// Where messages go before they are counted.
    iggy: Option<IggyTransport>,
}

#[derive(Debug)]
struct Seen {
    began: Instant,
    /// One bit per event.
    delivered: Vec<AtomicU64>,
    /// The highest number of each key, and one.
    newest: Vec<AtomicU64>,
    distinct: AtomicU64,
    duplicates: AtomicU64,
    inversions: AtomicU64,
    /// Nanoseconds from the beginning to the commit of each event, where latency is measured, and from there to here.
    times: Vec<(AtomicU64, AtomicU64)>,
}

impl Sink {
    /// A sink for events with numbers below `capacity`.
    pub(crate) fn new(capacity: u64) -> Self {
        Self::with_times(capacity, 0)
    }

    /// A sink that also measures how long each event took since [`committing`](Self::committing).
    pub(crate) fn timed(capacity: u64) -> Self {
        Self::with_times(capacity, capacity)
    }

    fn with_times(capacity: u64, times: u64) -> Self {
        let zeros = |len: u64| (0..len).map(|_| AtomicU64::new(0)).collect();
        let seen = Seen {
            began: Instant::now(),
            delivered: zeros(capacity.div_ceil(64)),
            newest: zeros(KEYS),
            distinct: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            inversions: AtomicU64::new(0),
            times: (0..times).map(|_| Default::default()).collect(),
        };
        Self { seen: Arc::new(seen), iggy: None }
    }

    /// Counts what Iggy has acknowledged, in place of what is given to it.
    #[must_use]
    pub(crate) fn behind(mut self, iggy: &IggyTransport) -> Self {
        self.iggy = Some(iggy.clone());
        self
    }

    /// Takes an event in.
    pub(crate) fn take(&self, payload: &[u8]) {
        self.came(sample::number(payload));
    }

    /// Notes that the event of a number came.
    pub(crate) fn came(&self, number: u64) {
        let seen = &*self.seen;
        let bit = 1 << (number % 64);
        if seen.delivered[(number / 64) as usize].fetch_or(bit, Relaxed) & bit != 0 {
            seen.duplicates.fetch_add(1, Relaxed);
            return;
        }
        if seen.newest[(number % KEYS) as usize].fetch_max(number + 1, Relaxed) > number {
            seen.inversions.fetch_add(1, Relaxed);
        }
        if let Some((committing, took)) = seen.times.get(number as usize) {
            took.store(self.now().saturating_sub(committing.load(Relaxed)).max(1), Relaxed);
        }
        seen.distinct.fetch_add(1, Relaxed);
    }

    /// Notes that the transaction of an event is about to commit.
    pub(crate) fn committing(&self, number: u64) {
        if let Some((committing, _)) = self.seen.times.get(number as usize) {
            committing.store(self.now(), Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.seen.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// As if none had come yet. What was out of order stays counted.
    pub(crate) fn forget(&self) {
        let seen = &*self.seen;
        for counted in seen.delivered.iter().chain(&seen.newest) {
            counted.store(0, Relaxed);
        }
        seen.distinct.store(0, Relaxed);
    }

    /// How many events came, each counted once.
    pub(crate) fn distinct(&self) -> u64 {
        self.seen.distinct.load(Relaxed)
    }

    /// How many came again.
    pub(crate) fn duplicates(&self) -> u64 {
        self.seen.duplicates.load(Relaxed)
    }

    /// How many came for the first time after a later event of their key.
    pub(crate) fn inversions(&self) -> u64 {
        self.seen.inversions.load(Relaxed)
    }

    /// The times of all that came with numbers from `first` on, shortest first.
    pub(crate) fn latencies(&self, first: u64) -> Vec<Duration> {
        let times = self.seen.times.iter().skip(first as usize);
        let took = times.map(|(_, took)| took.load(Relaxed));
        let mut latencies: Vec<_> =
            took.filter(|took| *took > 0).map(Duration::from_nanos).collect();
        latencies.sort_unstable();
        latencies
    }

    /// Waits until `goal` events came.
    pub(crate) async fn until(&self, goal: u64) {
        while self.distinct() < goal {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl EventTransport for Sink {
    fn provision<'a>(
        &'a self,
        topics: &'a [TopicSpec],
    ) -> BoxFuture<'a, Result<Vec<u32>, TransportError>> {
        if let Some(iggy) = &self.iggy {
            return iggy.provision(topics);
        }
        let counts = topics.iter().map(|spec| spec.partitions.unwrap_or(sample::PARTITIONS));
        let counts = counts.collect();
        Box::pin(async move { Ok(counts) })
    }

    fn publish<'a>(
        &'a self,
        topic: &'a TopicName,
        partition: u32,
        messages: Vec<OutgoingMessage>,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        Box::pin(async move {
            let Some(iggy) = &self.iggy else {
                for message in messages {
                    self.take(&message.payload);
                }
                return Ok(());
            };
            let payloads = messages.iter().map(|message| message.payload.clone());
            let payloads: Vec<_> = payloads.collect();
            iggy.publish(topic, partition, messages).await?;
            for payload in payloads {
                self.take(&payload);
            }
            Ok(())
        })
    }

    fn subscribe<'a>(
        &'a self,
        _group: &'a str,
        topic: &'a TopicName,
        _start: StartFrom,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, TransportError>> {
        Box::pin(async move { Err(TransportError::NotFound(topic.to_string())) })
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn shutdown(&self) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async { Ok(()) })
    }
}
