//! Handles the messages of one partition: in one transaction if all goes well, one by one if not.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::{ConsumerConfig, ConsumerError, message::Message};
use crate::{
    EventId, TransactionalEventBus,
    backoff::Backoff,
    dead_letter::{self as held, Holder, Reason},
    handler::{Delivered, ErasedHandler, Failure, HandlerSpec, Invocation, OnDeadLetter},
    inbox::{self, Outcome},
    outbox::wake,
    sql,
    transport::{IncomingMessage, TopicName},
};

/// The handlers of one group on one topic, and what they work with.
pub(super) struct Processor<S> {
    pub(super) db: DatabaseConnection,
    pub(super) bus: TransactionalEventBus,
    pub(super) state: Arc<S>,
    pub(super) group: &'static str,
    pub(super) topic: TopicName,
    pub(super) handlers: Vec<Arc<dyn ErasedHandler<S>>>,
    /// How many transactions may be open at once.
    pub(super) writers: Arc<Semaphore>,
    pub(super) config: ConsumerConfig,
}

/// Why a transaction did not commit.
enum Failed {
    /// A handler's doing.
    Handler(Failure),
    /// The database's: not an attempt.
    Database(DbErr),
}

impl From<DbErr> for Failed {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

/// Stopped before there was a result.
struct Stopped;

impl<S: Send + Sync + 'static> Processor<S> {
    /// Handles messages of one partition in order. Returns the offset up to which every message has its result
    /// (handled, held or dead); less than all of them once `stop` is cancelled.
    pub(super) async fn process(
        &self,
        messages: Vec<IncomingMessage>,
        stop: &CancellationToken,
    ) -> (Option<u64>, Result<(), ConsumerError>) {
        let messages: Vec<Message> = messages.into_iter().map(Message::read).collect();
        let mut inbox_done = false;
        if messages.len() > 1 && messages.iter().all(|message| message.content.is_ok()) {
            match self.all_at_once(&messages).await {
                Ok(()) => inbox_done = true,
                Err(Failed::Handler(failure)) => {
                    tracing::debug!(group = self.group, code = failure.code, error = %failure.error, "a batch falls back to one by one");
                }
                Err(Failed::Database(error)) => {
                    tracing::debug!(group = self.group, %error, "a batch falls back to one by one");
                }
            }
        }
        let mut done = None;
        for message in &messages {
            for handler in &self.handlers {
                if inbox_done && handler.spec().inbox {
                    continue;
                }
                match self.one(message, &**handler, stop).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return (done, Err(error)),
                    Err(Stopped) => return (done, Ok(())),
                }
            }
            if let Err(failure) = &message.content
                && self.dead(message, "", failure, 0, self.config.clock.now(), stop).await.is_err()
            {
                return (done, Ok(()));
            }
            done = Some(message.raw.offset);
        }
        (done, Ok(()))
    }

    /// Every message and every handler with an inbox in one transaction.
    async fn all_at_once(&self, messages: &[Message]) -> Result<(), Failed> {
        if !self.handlers.iter().any(|handler| handler.spec().inbox) {
            return Ok(());
        }
        let txn = self.begin().await?;
        let published = AtomicBool::new(false);
        let handled = self.all_in(&txn, messages, &published).await;
        self.end(txn, handled, &published).await
    }

    async fn all_in(
        &self,
        txn: &DatabaseTransaction,
        messages: &[Message],
        published: &AtomicBool,
    ) -> Result<(), Failed> {
        for handler in &self.handlers {
            let spec = handler.spec();
            let accepted =
                |message: &&Message| message.name().is_some_and(|name| spec.accepts(name));
            let mine: Vec<&Message> = messages.iter().filter(accepted).collect();
            if spec.inbox && !mine.is_empty() {
                self.handle_in(txn, &**handler, &mine, 1, published).await?;
            }
        }
        Ok(())
    }

    /// One message at one handler, tried until there is a result or a stop.
    async fn one(
        &self,
        message: &Message,
        handler: &dyn ErasedHandler<S>,
        stop: &CancellationToken,
    ) -> Result<Result<(), ConsumerError>, Stopped> {
        let spec = handler.spec();
        if !message.name().is_some_and(|name| spec.accepts(name)) {
            return Ok(Ok(()));
        }
        let retry = spec.options.retry;
        let mut retries = Backoff::new(retry.min, retry.max);
        let mut repairs = Backoff::new(self.config.min_backoff, self.config.max_backoff);
        let mut first_failed_at = None;
        let mut attempt = 1;
        while !stop.is_cancelled() {
            let pause = match self.attempt(message, handler, attempt).await {
                Ok(()) => return Ok(Ok(())),
                Err(Failed::Handler(failure)) => {
                    let since = *first_failed_at.get_or_insert_with(|| self.config.clock.now());
                    if failure.terminal || attempt >= retry.attempts {
                        return Ok(Ok(self
                            .dead(message, spec.name, &failure, attempt, since, stop)
                            .await?));
                    }
                    tracing::warn!(
                        group = self.group, handler = spec.name, attempt,
                        code = failure.code, error = %failure.error, "a handler failed and will be called again"
                    );
                    attempt += 1;
                    retries.next()
                }
                Err(Failed::Database(error)) if sql::is_missing_table(&error) => {
                    return Ok(Err(error.into()));
                }
                Err(Failed::Database(error)) => {
                    tracing::warn!(group = self.group, handler = spec.name, %error, "the database failed");
                    repairs.next()
                }
            };
            stop.run_until_cancelled(self.config.clock.sleep(pause)).await;
        }
        Err(Stopped)
    }

    async fn attempt(
        &self,
        message: &Message,
        handler: &dyn ErasedHandler<S>,
        attempt: u32,
    ) -> Result<(), Failed> {
        let published = AtomicBool::new(false);
        if handler.spec().inbox {
            let txn = self.begin().await?;
            let handled = self.handle_in(&txn, handler, &[message], attempt, &published).await;
            return self.end(txn, handled, &published).await;
        }
        let Ok(delivered) = &message.content else { return Ok(()) };
        let mut delivered = delivered.clone();
        delivered.meta.attempt = attempt;
        let invocation =
            Invocation { txn: None, bus: &self.bus, state: &*self.state, published: &published };
        handler.call(invocation, &[delivered]).await.map_err(Failed::Handler)
    }

    /// Claims messages for a handler with an inbox and calls it with those that are new to it; messages of a key
    /// that waits are held instead.
    async fn handle_in(
        &self,
        txn: &DatabaseTransaction,
        handler: &dyn ErasedHandler<S>,
        messages: &[&Message],
        attempt: u32,
        published: &AtomicBool,
    ) -> Result<(), Failed> {
        let spec = handler.spec();
        let now = self.config.clock.now();
        let delivered: Vec<(&Message, &Delivered)> = messages
            .iter()
            .filter_map(|message| Some((*message, message.content.as_ref().ok()?)))
            .collect();
        let ids: Vec<EventId> = delivered.iter().map(|(_, delivered)| delivered.meta.id).collect();
        let mut fresh =
            inbox::claim(txn, self.group, spec.name, &ids, Outcome::Handled, now).await?;
        if fresh.is_empty() {
            return Ok(());
        }
        let parked = held::parked_keys(txn, self.holder(&spec)).await?;
        let mut calls: Vec<Delivered> = Vec::with_capacity(fresh.len());
        for (message, delivered) in delivered {
            // The first of two deliveries of one event is the one that counts.
            if !fresh.remove(&delivered.meta.id.as_uuid()) {
                continue;
            }
            let waits = held::tenant_key(&delivered.meta).is_some_and(|key| parked.contains(&key));
            if waits {
                let meta = Some(&delivered.meta);
                held::hold(txn, self.holder(&spec), &message.raw, meta, &Reason::Behind, now)
                    .await?;
                inbox::set(txn, self.group, spec.name, delivered.meta.id, Outcome::Held).await?;
                continue;
            }
            let mut delivered = delivered.clone();
            delivered.meta.attempt = attempt;
            calls.push(delivered);
        }
        let invocation =
            Invocation { txn: Some(txn), bus: &self.bus, state: &*self.state, published };
        let at_once = if spec.batch { calls.len().max(1) } else { 1 };
        for deliveries in calls.chunks(at_once) {
            handler.call(invocation, deliveries).await.map_err(Failed::Handler)?;
        }
        Ok(())
    }

    /// Records a dead letter, waiting through the absence of the database.
    async fn dead(
        &self,
        message: &Message,
        handler: &str,
        failure: &Failure,
        attempts: u32,
        first_failed_at: DateTime<Utc>,
        stop: &CancellationToken,
    ) -> Result<(), Stopped> {
        let parks_key =
            self.handlers.iter().map(|handler| handler.spec()).any(|spec| {
                spec.name == handler && spec.options.on_dead_letter == OnDeadLetter::Park
            });
        let reason = Reason::Dead { failure, attempts, first_failed_at, parks_key };
        let mut repairs = Backoff::new(self.config.min_backoff, self.config.max_backoff);
        loop {
            match self.record_dead(message, handler, &reason).await {
                Ok(()) => {
                    tracing::error!(
                        group = self.group, handler, code = failure.code, error = %failure.error,
                        topic = %self.topic, partition = message.raw.partition, offset = message.raw.offset,
                        "an event became a dead letter"
                    );
                    return Ok(());
                }
                Err(error) => {
                    let pause = repairs.next();
                    tracing::warn!(group = self.group, handler, %error, "a dead letter could not be recorded yet");
                    let sleep = self.config.clock.sleep(pause);
                    stop.run_until_cancelled(sleep).await.ok_or(Stopped)?;
                }
            }
        }
    }

    async fn record_dead(
        &self,
        message: &Message,
        handler: &str,
        reason: &Reason<'_>,
    ) -> Result<(), DbErr> {
        let txn = self.begin().await?;
        let recorded = self.record_dead_in(&txn, message, handler, reason).await;
        match self.end(txn, recorded.map_err(Failed::Database), &AtomicBool::new(false)).await {
            Err(Failed::Database(error)) => Err(error),
            Ok(()) | Err(Failed::Handler(_)) => Ok(()),
        }
    }

    async fn record_dead_in(
        &self,
        txn: &DatabaseTransaction,
        message: &Message,
        handler: &str,
        reason: &Reason<'_>,
    ) -> Result<(), DbErr> {
        let now = self.config.clock.now();
        let meta = message.content.as_ref().ok().map(|delivered| &delivered.meta);
        if let Some(meta) = meta {
            let fresh =
                inbox::claim(txn, self.group, handler, &[meta.id], Outcome::Held, now).await?;
            if fresh.is_empty() {
                // Another member of the group had the event meanwhile and has recorded its result.
                return Ok(());
            }
        }
        let holder = Holder { group: self.group, handler, topic: &self.topic };
        held::hold(txn, holder, &message.raw, meta, reason, now).await
    }

    fn holder<'a>(&'a self, spec: &HandlerSpec) -> Holder<'a> {
        Holder { group: self.group, handler: spec.name, topic: &self.topic }
    }

    async fn begin(&self) -> Result<Transaction<'_>, DbErr> {
        let permit = self.writers.acquire().await.ok();
        let txn = sql::begin_write(&self.db).await?;
        if self.db.get_database_backend() == DbBackend::Postgres {
            // An offset must not speak of what a crashed server forgot.
            txn.execute_unprepared("SET LOCAL synchronous_commit = on").await?;
        }
        Ok(Transaction { txn, _permit: permit })
    }

    /// Commits what succeeded and rolls back what did not.
    async fn end(
        &self,
        transaction: Transaction<'_>,
        result: Result<(), Failed>,
        published: &AtomicBool,
    ) -> Result<(), Failed> {
        let Transaction { txn, _permit } = transaction;
        if let Err(failed) = result {
            // Rolled back here and not by a drop, which would leave the database locked for a while.
            if let Err(error) = txn.rollback().await {
                tracing::debug!(%error, "a rollback failed; the lost connection rolls back by itself");
            }
            return Err(failed);
        }
        self.config.faults.database("consumer.commit.before").await?;
        txn.commit().await?;
        self.config.faults.database("consumer.commit.after").await?;
        if published.load(Ordering::Relaxed) {
            wake::notify();
        }
        Ok(())
    }
}

/// A transaction and the right to have one open; the transaction ends first.
struct Transaction<'p> {
    txn: DatabaseTransaction,
    _permit: Option<SemaphorePermit<'p>>,
}

impl std::ops::Deref for Transaction<'_> {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.txn
    }
}
