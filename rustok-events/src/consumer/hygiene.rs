//! Forgets what the inbox need not remember any longer, where the window of deduplication ends, and old records of what
//! was discarded or passed over.
//!
//! Event ids are ordered by time, so the old rows of a handler lie together at the front of the inbox's key: finding
//! them costs what deleting them costs, however large the table is. They go in small batches, each a transaction of
//! its own that passes over locked rows: it waits for no handler, so it cannot deadlock with one.

use std::{sync::Arc, time::Duration};

use sea_orm::DbErr;
use tokio_util::sync::CancellationToken;

use super::{ConsumerConfig, ConsumerError, Processor, Writer};
use crate::{
    held::{self, Record},
    inbox,
};

/// Rows forgotten in one transaction.
const BATCH: u32 = 500;
/// The pause between two batches: SQLite's other writers get a turn.
const BREATH: Duration = Duration::from_millis(10);

pub(super) struct Hygiene {
    writer: Arc<Writer>,
    handlers: Vec<(&'static str, &'static str)>,
    config: ConsumerConfig,
}

impl Hygiene {
    pub(super) fn new<S>(
        writer: &Arc<Writer>,
        processors: &[Arc<Processor<S>>],
        config: &ConsumerConfig,
    ) -> Self {
        let handlers = processors
            .iter()
            .flat_map(|processor| {
                let names = processor.handlers.iter().map(|handler| handler.spec().name);
                names.chain([""]).map(|name| (processor.group, name))
            })
            .collect();
        Self { writer: Arc::clone(writer), handlers, config: config.clone() }
    }

    /// Works until `stop` is cancelled. Never fails: what cannot be forgotten now is forgotten later.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), ConsumerError> {
        let (inbox, records) = (self.config.inbox_retention, self.config.record_retention);
        if inbox.is_none() && records.is_none() {
            stop.cancelled().await;
            return Ok(());
        }
        while !stop.is_cancelled() {
            if let Some(retention) = inbox
                && let Err(error) = self.forget(retention, &stop).await
            {
                tracing::warn!(%error, "the inbox could not be cleaned");
            }
            if let Some(retention) = records
                && let Err(error) = self.forget_records(retention, &stop).await
            {
                tracing::warn!(%error, "records of discarded and skipped events could not be removed");
            }
            stop.run_until_cancelled(self.config.clock.sleep(self.config.hygiene_tick)).await;
        }
        Ok(())
    }

    async fn forget(&self, retention: Duration, stop: &CancellationToken) -> Result<(), DbErr> {
        let before = self.config.clock.now() - retention;
        for (group, handler) in &self.handlers {
            while !stop.is_cancelled() {
                let txn = self.writer.begin().await?;
                let forgotten = inbox::forget(&txn, group, handler, before, BATCH).await;
                if self.writer.end_quiet(txn, forgotten).await? < u64::from(BATCH) {
                    break;
                }
                tokio::time::sleep(BREATH).await;
            }
        }
        Ok(())
    }

    /// Of all groups: records of a handler that is gone are forgotten too.
    async fn forget_records(
        &self,
        retention: Duration,
        stop: &CancellationToken,
    ) -> Result<(), DbErr> {
        let before = self.config.clock.now() - retention;
        for record in [Record::Discarded, Record::Skipped] {
            while !stop.is_cancelled() {
                let txn = self.writer.begin().await?;
                let forgotten = held::forget(&txn, record, before, BATCH).await;
                if self.writer.end_quiet(txn, forgotten).await? < u64::from(BATCH) {
                    break;
                }
                tokio::time::sleep(BREATH).await;
            }
        }
        Ok(())
    }
}
