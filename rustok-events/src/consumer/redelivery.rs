//! Tries held events again when they are due, each key in its order.
//!
//! ```text
//! due rows ─▶ lease one ─▶ inbox: held → handled, effects, row gone, next of the key leased: commit ─▶ next
//!                    └──▶ failed: due later, or dead
//! ```
//!
//! One runtime tries a row at a time. Should a lease end while its holder is still at work, the claim in the inbox
//! lets one of the two commit.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream::FuturesUnordered};
use sea_orm::DbErr;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{ConsumerConfig, ConsumerError, halt::Halt, processor::Processor};
use crate::{
    backoff::Backoff,
    held::{self, Claim, Due, Holder},
    sql,
};

/// How long a row is leased if a handler may take as long as it likes.
const LONG_LEASE: Duration = Duration::from_mins(15);
/// How often to look for keys that wait for nothing.
const SWEEP: Duration = Duration::from_mins(1);

/// The one worker of a runtime that tries held events again.
pub(super) struct Redelivery<S> {
    processors: Vec<Arc<Processor<S>>>,
    config: ConsumerConfig,
}

impl<S: Send + Sync + 'static> Redelivery<S> {
    pub(super) fn new(processors: Vec<Arc<Processor<S>>>, config: ConsumerConfig) -> Self {
        Self { processors, config }
    }

    /// Works until `stop` is cancelled; what is being tried is finished, at most as long as a stop may take.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), ConsumerError> {
        if self.processors.is_empty() {
            stop.cancelled().await;
            return Ok(());
        }
        let work = self.work(&stop);
        let out_of_patience = async {
            stop.cancelled().await;
            tokio::time::sleep(self.config.drain_timeout).await;
        };
        tokio::select! {
            result = work => result,
            () = out_of_patience => Ok(()),
        }
    }

    async fn work(&self, stop: &CancellationToken) -> Result<(), ConsumerError> {
        let mut changes = held::listen();
        let mut backoff = Backoff::new(self.config.min_backoff, self.config.max_backoff);
        let mut swept_at = None;
        let mut tries = FuturesUnordered::new();
        while !stop.is_cancelled() {
            let room = self.config.redelivery_concurrency.max(1) - tries.len();
            let (due, next) = match beside(&mut tries, self.look(room, &mut swept_at)).await? {
                Ok(found) => found,
                Err(error) if sql::is_missing_table(&error) => return Err(error.into()),
                Err(error) => {
                    let pause = backoff.next();
                    tracing::warn!(%error, retry_in = ?pause, "held events could not be looked for");
                    let pause = stop.run_until_cancelled(tokio::time::sleep(pause));
                    beside(&mut tries, pause).await?;
                    continue;
                }
            };
            backoff.reset();
            tries.extend(due.into_iter().map(|due| self.one_key(due, stop)));
            let full = tries.len() >= self.config.redelivery_concurrency.max(1);
            tokio::select! {
                Some(tried) = tries.next() => failed(tried)?,
                () = self.pause(&mut changes, next), if !full => {}
                () = stop.cancelled() => {}
            }
        }
        // A stop lets what is being tried finish.
        while let Some(tried) = tries.next().await {
            failed(tried)?;
        }
        Ok(())
    }

    /// What is due now, at most `limit`, and if nothing is, when something will be.
    async fn look(
        &self,
        limit: usize,
        swept_at: &mut Option<Instant>,
    ) -> Result<(Vec<Due>, Option<DateTime<Utc>>), DbErr> {
        if swept_at.is_none_or(|at| at.elapsed() >= SWEEP) {
            self.sweep().await?;
            *swept_at = Some(Instant::now());
        }
        if limit == 0 {
            return Ok((Vec::new(), None));
        }
        let holders: Vec<Holder<'_>> = self.holders().collect();
        let (db, now) = (&self.processors[0].writer.db, self.config.clock.now());
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let due = held::due(db, &holders, now, limit).await?;
        let next = if due.is_empty() { held::next_due(db, &holders).await? } else { None };
        // A row that is due but leased by another has no time to wait for.
        Ok((due, next.filter(|next| *next > now)))
    }

    /// Waits until something is due, something changed, or it is time to look what others left.
    async fn pause(&self, changes: &mut held::Changes, next_due: Option<DateTime<Utc>>) {
        let due = async {
            match next_due {
                Some(due) => self.config.clock.sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = changes.next() => {}
            () = tokio::time::sleep(self.config.redelivery_tick) => {}
        }
    }

    /// Who may hold something that is to be tried now: a group that pauses tries nothing.
    fn holders(&self) -> impl Iterator<Item = Holder<'_>> {
        let trying = self.processors.iter().filter(|processor| !processor.breaker.is_open());
        trying.flat_map(|processor| {
            let (group, topic) = (processor.group, &processor.topic);
            let names = processor.handlers.iter().map(|handler| handler.spec().name);
            names.chain([""]).map(move |handler| Holder { group, handler, topic })
        })
    }

    /// Makes keys go on that wait for nothing. No handler leaves one: rows were deleted by hand.
    async fn sweep(&self) -> Result<(), DbErr> {
        let db = &self.processors[0].writer.db;
        for (group, handler, topic, key) in held::unpromoted(db).await? {
            let holder = Holder { group: &group, handler: &handler, topic: &topic };
            if held::promote(db, holder, &key, self.config.clock.now(), None).await?.is_some() {
                tracing::warn!(group, handler, %topic, "a key waited for nothing and goes on");
            }
        }
        Ok(())
    }

    /// How long a row is leased.
    fn lease(&self) -> Duration {
        let margin = self.config.redelivery_margin;
        self.config.handler_timeout.map_or(LONG_LEASE, |limit| limit + margin)
    }

    /// Tries a held event and, as long as that succeeds, the next ones of its key.
    async fn one_key(&self, due: Due, stop: &CancellationToken) -> Result<(), Halt> {
        let Some(processor) = self
            .processors
            .iter()
            .find(|processor| processor.group == due.group && processor.topic == due.topic)
        else {
            return Ok(());
        };
        let lease = self.lease();
        // Its own for each key, so that it can be given back whatever it is that is leased.
        let owner = format!("consumer-{}-{}", std::process::id(), Uuid::now_v7().simple());
        let mut next = Some(due.id);
        let mut claimed = false;
        while let Some(id) = next {
            let now = self.config.clock.now();
            let claim = Claim { owner: owner.clone(), now, until: now + lease };
            let db = &processor.writer.db;
            let event = async {
                self.config.faults.database("consumer.claim.before").await?;
                let event = if claimed {
                    held::claimed(db, id, &claim).await?
                } else {
                    held::claim(db, id, &claim).await?
                };
                self.config.faults.database("consumer.claim.after").await?;
                Ok(event)
            };
            let event = match event.await {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                Err(error) => {
                    processor.database_failed(error)?;
                    return processor.give_all_back(&claim, stop).await;
                }
            };
            if stop.is_cancelled() {
                return processor.give_back(&event, &claim, now).await;
            }
            next = processor.redeliver(&event, &claim, stop).await?;
            claimed = true;
        }
        Ok(())
    }
}

/// Does something while the tries go on. They have transactions open: left alone they would keep whoever waits for their
/// locks, with all connections of the pool perhaps, and then also whoever waits here for a connection.
async fn beside<T>(
    tries: &mut FuturesUnordered<impl Future<Output = Result<(), Halt>>>,
    work: impl Future<Output = T>,
) -> Result<T, ConsumerError> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            Some(tried) = tries.next() => failed(tried)?,
            done = &mut work => return Ok(done),
        }
    }
}

fn failed(tried: Result<(), Halt>) -> Result<(), ConsumerError> {
    match tried {
        Err(Halt::Failed(error)) => Err(error),
        Ok(()) | Err(Halt::Stopped) => Ok(()),
    }
}
