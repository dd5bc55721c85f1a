//! The way in: typed events, written in the caller's transaction.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr, RuntimeErr};
use uuid::Uuid;

use super::{
    CommitError, OutboxRecord, OutboxTransaction, PublishError, delayed, record::Circumstances,
    store, wake,
};
use crate::{Codec, DomainEvent, EventId, clock::Clock, envelope::EventMeta, fault::Faults};

/// Publishes events in the transaction of the state they tell of.
///
/// Cheap to clone; holds no connection.
///
/// ```no_run
/// # use rustok_events::prelude::*;
/// # use sea_orm::TransactionTrait;
/// # async fn f<E: DomainEvent>(db: sea_orm::DatabaseConnection, event: E, tenant: uuid::Uuid) -> Result<(), rustok_events::BoxError> {
/// let bus = TransactionalEventBus::new();
/// let txn = db.begin().await?;
/// // … the state's own writes, on `&txn` …
/// bus.publish_in_tx(&txn, tenant, None, event).await?;
/// bus.commit(txn).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct TransactionalEventBus {
    codec: Codec,
    clock: Clock,
    faults: Faults,
}

impl TransactionalEventBus {
    /// A bus that encodes payloads as JSON.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how payloads are encoded.
    #[must_use]
    pub fn with_codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Sets the clock that events are stamped by.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets what goes wrong.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Writes an event into the outbox as part of `txn`: it reaches the broker if and only if `txn` commits.
    ///
    /// Cancellation: a dropped call may or may not have written the row; roll the transaction back.
    ///
    /// # Errors
    /// [`PublishError`]; all but a database error leave the transaction usable and nothing written.
    pub fn publish_in_tx<'t, C: OutboxTransaction, E: DomainEvent>(
        &self,
        txn: &'t C,
        tenant_id: Uuid,
        actor_id: Option<Uuid>,
        event: E,
    ) -> Publishing<'t> {
        self.event(event).tenant(tenant_id).actor(actor_id).publish_in_tx(txn)
    }

    /// Writes several events of one type, in order: one statement, or a few for a very long list. One refused
    /// event refuses all.
    ///
    /// # Errors
    /// [`PublishError`]; all but a database error leave the transaction usable and nothing written.
    pub fn publish_all_in_tx<'t, C: OutboxTransaction, E: DomainEvent>(
        &self,
        txn: &'t C,
        tenant_id: Uuid,
        actor_id: Option<Uuid>,
        events: impl IntoIterator<Item = E>,
    ) -> PublishingAll<'t> {
        let records: Result<Vec<_>, _> = events
            .into_iter()
            .map(|event| {
                let circumstances =
                    Circumstances { tenant_id, actor_id, ..Circumstances::default() };
                OutboxRecord::build(&event, circumstances, self.codec, &self.clock)
            })
            .collect();
        let txn = txn.as_transaction();
        PublishingAll(Box::pin(async move {
            let records = records?;
            store::of(txn)?.append(txn, &records).await?;
            Ok(records.iter().map(|record| record.meta.id).collect())
        }))
    }

    /// Writes an event into the outbox that is published no sooner than `time`. It takes its place in the order of
    /// its key when it is released.
    ///
    /// # Errors
    /// [`PublishError`]; all but a database error leave the transaction usable and nothing written.
    pub fn publish_at<'t, C: OutboxTransaction, E: DomainEvent>(
        &self,
        txn: &'t C,
        tenant_id: Uuid,
        actor_id: Option<Uuid>,
        time: impl Into<DateTime<Utc>>,
        event: E,
    ) -> Publishing<'t> {
        self.event(event).tenant(tenant_id).actor(actor_id).at(time).publish_in_tx(txn)
    }

    /// Starts an event with options; [`EventBuilder::publish_in_tx`] ends it.
    pub fn event<E: DomainEvent>(&self, event: E) -> EventBuilder<'_, E> {
        EventBuilder { bus: self, event, circumstances: Circumstances::default() }
    }

    /// Commits and wakes the relays of this process, so that they need not wait for their next look.
    ///
    /// Like `txn.commit()`, it says nothing where an error of a statement was ignored before: PostgreSQL rolls such a
    /// transaction back then, its events too. Return such errors, or run what may fail in a savepoint (`txn.begin()`).
    ///
    /// # Errors
    /// [`CommitError::Ambiguous`] if the connection was lost before the database answered.
    pub async fn commit(&self, txn: DatabaseTransaction) -> Result<(), CommitError> {
        let committed = async {
            self.faults.database("outbox.commit.before").await?;
            txn.commit().await?;
            self.faults.database("outbox.commit.after").await
        };
        committed.await.map_err(|error| {
            if is_connection_loss(&error) {
                CommitError::Ambiguous(error)
            } else {
                CommitError::Refused(error)
            }
        })?;
        wake::notify();
        Ok(())
    }
}

/// Whether an error says that the connection went away rather than that the database refused.
fn is_connection_loss(error: &DbErr) -> bool {
    match error {
        DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => true,
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            matches!(
                **error,
                sea_orm::SqlxError::Io(_)
                    | sea_orm::SqlxError::Protocol(_)
                    | sea_orm::SqlxError::Tls(_)
                    | sea_orm::SqlxError::WorkerCrashed
            )
        }
        _ => false,
    }
}

/// An event and what is said of it. Made by [`TransactionalEventBus::event`].
#[derive(Debug)]
#[must_use = "nothing is published until `publish_in_tx`"]
pub struct EventBuilder<'b, E> {
    bus: &'b TransactionalEventBus,
    event: E,
    circumstances: Circumstances,
}

impl<E: DomainEvent> EventBuilder<'_, E> {
    /// The tenant. Every event but a platform event needs one.
    pub fn tenant(mut self, tenant_id: Uuid) -> Self {
        self.circumstances.tenant_id = tenant_id;
        self
    }

    /// Who causes it: an id, or `None` for the system.
    pub fn actor(mut self, actor_id: impl Into<Option<Uuid>>) -> Self {
        self.circumstances.actor_id = actor_id.into();
        self
    }

    /// Makes the event write-once: the same event again under this id is `Ok` and one row, another event under it
    /// is [`PublishError::Conflict`].
    pub fn id(mut self, id: impl Into<EventId>) -> Self {
        self.circumstances.id = Some(id.into());
        self
    }

    /// The event that causes this one: its id becomes the causation id, its correlation id is inherited.
    pub fn caused_by(mut self, cause: &impl AsRef<EventMeta>) -> Self {
        let cause = cause.as_ref();
        self.circumstances.causation_id = Some(cause.id.as_uuid());
        self.circumstances.correlation_id = Some(cause.correlation_id);
        self
    }

    /// Adds a header of the application's own. Names and values have 1 to 255 bytes; `ce-` names are reserved.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.circumstances.headers.insert(name.into(), value.into());
        self
    }

    /// Publishes the event no sooner than `time`: it takes its place in the order of its key when it is released.
    pub fn at(mut self, time: impl Into<DateTime<Utc>>) -> Self {
        self.circumstances.at = Some(time.into());
        self
    }

    /// Writes the event into the outbox as part of `txn`.
    ///
    /// # Errors
    /// [`PublishError`]; all but a database error leave the transaction usable and nothing written.
    pub fn publish_in_tx<C: OutboxTransaction>(self, txn: &C) -> Publishing<'_> {
        let write_once = self.circumstances.id.is_some();
        let delayed = self.circumstances.at.filter(|at| *at > self.bus.clock.now());
        let record =
            OutboxRecord::build(&self.event, self.circumstances, self.bus.codec, &self.bus.clock);
        let txn = txn.as_transaction();
        Publishing(Box::pin(async move {
            let record = record?;
            let store = store::of(txn)?;
            if write_once && !store::claim_id(txn, &record).await? {
                return Ok(record.meta.id);
            }
            match delayed {
                Some(due) => delayed::hold(txn, &record, due).await?,
                None => store.append(txn, std::slice::from_ref(&record)).await?,
            }
            Ok(record.meta.id)
        }))
    }
}

macro_rules! named_future {
    ($(#[$doc:meta])* $name:ident -> $output:ty) => {
        $(#[$doc])*
        #[must_use = "nothing is published until the future is awaited"]
        pub struct $name<'t>(Pin<Box<dyn Future<Output = $output> + Send + 't>>);

        impl Future for $name<'_> {
            type Output = $output;

            fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                self.0.as_mut().poll(cx)
            }
        }

        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

named_future! {
    /// An event being published. A named type, so that a wrong argument is one compile error and not three.
    Publishing -> Result<EventId, PublishError>
}
named_future! {
    /// Events being published, their ids in order.
    PublishingAll -> Result<Vec<EventId>, PublishError>
}
