//! A lane: reads, publishes and advances the parts that are its own, one page of a part at a time.
//!
//! A relay has several lanes, so that one reads while another publishes. A part always belongs to the same lane:
//! its pages never overtake each other.

use std::{collections::HashMap, sync::Arc, time::Duration};

use sea_orm::DatabaseConnection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{RelayConfig, RelayError, batches};
use crate::{
    backoff::Backoff,
    outbox::{
        Lease, Page, store,
        wake::{self, Commits},
    },
    transport::{EventTransport, TopicName, TransportError},
};

pub(super) struct Lane {
    db: DatabaseConnection,
    transport: Arc<dyn EventTransport>,
    config: RelayConfig,
    leases: watch::Receiver<Vec<Lease>>,
    number: usize,
    turn: usize,
    partitions: HashMap<TopicName, u32>,
}

/// What one step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Events went out, and their cursors moved.
    Published,
    /// There was nothing to publish.
    Idle,
    /// No part of this lane is leased to this relay.
    StandBy,
    /// A lease was lost on the way; what was published under it may be published again.
    Fenced,
}

impl Lane {
    pub(super) fn new(
        db: DatabaseConnection,
        transport: Arc<dyn EventTransport>,
        config: RelayConfig,
        leases: watch::Receiver<Vec<Lease>>,
        number: usize,
    ) -> Self {
        Self { db, transport, config, leases, number, turn: 0, partitions: HashMap::new() }
    }

    /// Publishes as events are committed, until `token` is cancelled; the page at hand is finished first. Ends
    /// early only with an error that waiting cannot mend.
    pub(super) async fn run(mut self, token: CancellationToken) -> Result<(), RelayError> {
        let mut commits = wake::listen();
        let mut backoff = Backoff::new(self.config.min_tick, self.config.max_backoff);
        let mut tick = self.config.min_tick;
        while !token.is_cancelled() {
            match self.step().await {
                Ok(Step::Published) => {
                    backoff.reset();
                    tick = self.config.min_tick;
                    continue;
                }
                Ok(Step::Fenced) => {
                    tracing::warn!(owner = %self.config.owner, lane = self.number, "a lease was lost to another relay");
                    tick = self.config.min_tick;
                }
                Ok(Step::Idle | Step::StandBy) => {
                    backoff.reset();
                    tick = (tick * 2).min(self.config.max_tick);
                }
                Err(error) if error.is_retryable() => {
                    tick = backoff.next();
                    tracing::warn!(code = error.code(), %error, retry_in = ?tick, "relay step failed");
                    // A wake does not shorten this pause: the error would only come sooner.
                    token.run_until_cancelled(tokio::time::sleep(tick)).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            token.run_until_cancelled(self.pause(&mut commits, tick)).await;
        }
        Ok(())
    }

    /// Waits for a commit, for the tick, or for other leases. A stand-by is not woken by a commit: it could do
    /// nothing. The tick is real time whatever the clock: it is a look at the database, not an appointment.
    async fn pause(&mut self, commits: &mut Commits, tick: Duration) {
        let stands_by = self.mine().is_empty();
        let leases_changed = async {
            if self.leases.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = commits.next(), if !stands_by => {}
            () = leases_changed => {}
            () = tokio::time::sleep(tick), if !stands_by => {}
        }
    }

    /// The leases of this lane's parts that have not run out by this process's clock.
    fn mine(&self) -> Vec<Lease> {
        let now = self.config.clock.now();
        let lane = |part: i64| part.unsigned_abs() % self.config.lanes.max(1) as u64;
        let leases = self.leases.borrow();
        let mine = leases
            .iter()
            .filter(|lease| lane(lease.part) == self.number as u64 && lease.until > now);
        mine.cloned().collect()
    }

    /// Reads a page of each of the lane's parts, publishes it and moves the cursors.
    pub(super) async fn step(&mut self) -> Result<Step, RelayError> {
        let store = store::of(&self.db)?;
        let leases = self.mine();
        if leases.is_empty() {
            return Ok(Step::StandBy);
        }
        self.turn = self.turn.wrapping_add(1);
        self.config.faults.database("relay.read.before").await?;
        let mut pages = store.pages(&self.db, &leases, self.config.page_size, self.turn).await?;
        self.config.faults.database("relay.read.after").await?;
        if pages.is_empty() {
            return Ok(Step::Idle);
        }
        self.publish(&mut pages).await?;
        self.config.faults.database("relay.advance.before").await?;
        let moved = store.advance(&self.db, &pages, &self.config.clock).await?;
        self.config.faults.database("relay.advance.after").await?;
        Ok(if moved == pages.len() as u64 { Step::Published } else { Step::Fenced })
    }

    /// Publishes pages, one batch per partition, and returns once all are acknowledged.
    async fn publish(&mut self, pages: &mut [Page]) -> Result<(), RelayError> {
        self.provision(pages).await?;
        let events = pages.iter_mut().flat_map(|page| &mut page.events);
        for batch in batches::group(events, &self.partitions) {
            self.config.faults.broker("relay.publish.before").await?;
            self.publish_batch(batch).await?;
            self.config.faults.broker("relay.publish.after").await?;
        }
        Ok(())
    }

    async fn publish_batch(&mut self, batch: batches::Batch) -> Result<(), TransportError> {
        let published = self.transport.publish(&batch.topic, batch.partition, batch.messages).await;
        if let Err(TransportError::NotFound(_)) = &published {
            // The topic was there and is gone: made again the next time.
            self.partitions.remove(&batch.topic);
        }
        published
    }

    /// Makes sure that the topics of pages exist, each once in a lane's life.
    async fn provision(&mut self, pages: &[Page]) -> Result<(), RelayError> {
        let mut topics = batches::topics(pages.iter().flat_map(|page| &page.events));
        topics.retain(|spec| !self.partitions.contains_key(&spec.name));
        if !topics.is_empty() {
            self.config.faults.broker("relay.provision.before").await?;
            let counts = self.transport.provision(&topics).await?;
            self.config.faults.broker("relay.provision.after").await?;
            self.partitions.extend(topics.into_iter().map(|spec| spec.name).zip(counts));
        }
        Ok(())
    }
}
