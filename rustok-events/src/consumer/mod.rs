//! The consumers: poll, route, handle in one transaction, acknowledge.
//!
//! ```text
//!            member of a group on a topic (one client)
//! next ─▶ lanes, one per partition ─▶ processor ─▶ inbox + effects + follow-ups: commit ─▶ acknowledge
//! ```
//!
//! A partition has one delivery in flight, partitions run side by side; where the database has one writer, what waits for
//! it goes in one transaction. An offset is stored only after what came before it is committed, held or dead.

mod at_once;
mod breaker;
mod builder;
mod call;
mod config;
mod coverage;
mod deliver;
mod error;
mod halt;
mod hygiene;
mod lanes;
mod member;
mod message;
pub mod middleware;
mod processor;
mod redeliver;
mod redelivery;
mod replay;
mod runs;
mod single;
mod together;
mod topics;
mod transaction;
mod verdict;

use std::{collections::HashMap, sync::Arc};

use sea_orm::DatabaseConnection;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::{
    builder::ConsumerRuntimeBuilder,
    config::{ConsumerConfig, OnUnreadable},
    error::{BuildError, ConsumerError},
    replay::GroupReplay,
};
use self::{
    hygiene::Hygiene, member::Member, processor::Processor, redelivery::Redelivery, topics::Topics,
    transaction::Writer,
};
use crate::{
    TransactionalEventBus, migration, sql,
    transport::{EventTransport, TopicSpec},
};

/// Runs handlers. Made by [`ConsumerRuntime::builder`].
pub struct ConsumerRuntime<S> {
    processors: Vec<Arc<Processor<S>>>,
    topics: Vec<TopicSpec>,
    writer: Arc<Writer>,
    bus: TransactionalEventBus,
    transport: Arc<dyn EventTransport>,
    config: ConsumerConfig,
    concurrency: HashMap<String, usize>,
}

impl ConsumerRuntime<()> {
    /// Starts a runtime whose handlers write to `db` and whose events come from `transport`.
    pub fn builder(
        db: DatabaseConnection,
        transport: impl EventTransport,
    ) -> ConsumerRuntimeBuilder<()> {
        ConsumerRuntimeBuilder::new(db, Some(Arc::new(transport)))
    }
}

impl<S> ConsumerRuntime<S> {
    /// A bus that encodes payloads and stamps events as the handlers' is.
    pub(crate) fn bus(&self) -> TransactionalEventBus {
        self.bus.clone()
    }

    pub(crate) fn transport(&self) -> Arc<dyn EventTransport> {
        Arc::clone(&self.transport)
    }
}

impl<S: Send + Sync + 'static> ConsumerRuntime<S> {
    /// Handles events until `token` is cancelled; then finishes what is being handled, acknowledges it and
    /// returns. What does not finish within
    /// [`drain_timeout`](ConsumerConfig::drain_timeout) is rolled back and comes again.
    ///
    /// Waits through the absence of the database or the broker, with growing pauses.
    ///
    /// Cancellation: dropping the future rolls back what is being handled; nothing unfinished is acknowledged.
    ///
    /// # Errors
    /// [`ConsumerError`] that waiting cannot mend, such as a missing table or a partition count that differs from
    /// the declared one.
    pub async fn run(self, token: CancellationToken) -> Result<(), ConsumerError> {
        let mut topics =
            Topics::new(Arc::clone(&self.transport), self.topics.clone(), &self.config);
        let prepare = async {
            migration::wait_for_tables(&self.writer.db).await?;
            sql::complain_unless_durable(&self.writer.db).await;
            topics.provision().await?;
            self.check_window().await
        };
        let Some(prepared) = token.run_until_cancelled(prepare).await else { return Ok(()) };
        prepared?;
        // A member that fails stops the others, and they finish their work like at any stop.
        let stop = token.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let mut members = JoinSet::new();
        members.spawn(topics.watch(stop.clone()));
        let hygiene = Hygiene::new(&self.writer, &self.processors, &self.config);
        members.spawn(hygiene.run(stop.clone()));
        let redelivery = Redelivery::new(self.processors.clone(), self.config.clone());
        members.spawn(redelivery.run(stop.clone()));
        for processor in self.processors {
            let concurrency = self.concurrency.get(processor.group);
            for _ in 0..(*concurrency.unwrap_or(&self.config.concurrency)).max(1) {
                let (processor, transport) = (Arc::clone(&processor), Arc::clone(&self.transport));
                members.spawn(
                    Member::new(processor, transport, self.config.clone()).run(stop.clone()),
                );
            }
        }
        let mut result = Ok(());
        while let Some(joined) = members.join_next().await {
            let ended = joined.unwrap_or_else(|error| Err(ConsumerError::Crashed(error.into())));
            if let Err(error) = ended {
                stop.cancel();
                result = result.and(Err(error));
            }
        }
        result
    }

    /// The inbox must remember an event for as long as its topic may deliver it again.
    async fn check_window(&self) -> Result<(), ConsumerError> {
        let Some(window) = self.config.inbox_retention else { return Ok(()) };
        let guarded = self
            .processors
            .iter()
            .filter(|processor| processor.handlers.iter().any(|handler| handler.spec().inbox));
        for processor in guarded {
            match self.transport.retention(&processor.topic).await {
                Ok(Some(kept)) if kept > window => {
                    return Err(ConsumerError::WindowTooShort {
                        topic: processor.topic.clone(),
                        kept,
                        window,
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    let topic = &processor.topic;
                    tracing::warn!(code = error.code(), %error, %topic, "how long a topic keeps its messages is not known");
                }
            }
        }
        Ok(())
    }
}

impl<S> std::fmt::Debug for ConsumerRuntime<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerRuntime").field("topics", &self.topics).finish_non_exhaustive()
    }
}
