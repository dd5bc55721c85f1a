//! A handler called by the test itself: no broker, no inbox, no retries.

use std::sync::atomic::AtomicBool;

use sea_orm::DatabaseTransaction;
use uuid::Uuid;

use crate::{
    Codec, DetachedContext, DomainEvent, EventMeta, HandlerContext, PublishError,
    TransactionalEventBus,
    clock::Clock,
    outbox::{Circumstances, OutboxRecord},
};

/// What a handler's context is made of when a test calls the handler.
///
/// ```no_run
/// # use rustok_events::{prelude::*, testing::HandlerCall};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, DomainEvent)]
/// # #[domain_event(stream = "commerce", topic = "orders", partition_key = order_id)]
/// # struct OrderPlaced { order_id: u64 }
/// # #[event_handler(group = "search")]
/// # async fn index_order<S>(_: &mut HandlerContext<'_, S>, _: OrderPlaced) -> HandlerResult { Ok(()) }
/// # async fn f(txn: sea_orm::DatabaseTransaction, tenant: uuid::Uuid, state: ()) -> HandlerResult {
/// let event = OrderPlaced { order_id: 7 };
/// let call = HandlerCall::of(&event, tenant)?;
/// index_order.call(&mut call.context(&txn, &state), event).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct HandlerCall {
    bus: TransactionalEventBus,
    meta: EventMeta,
    published: AtomicBool,
}

impl HandlerCall {
    /// A call with an event of a tenant, as if it had just been published.
    ///
    /// # Errors
    /// [`PublishError`], if the event could not have been published.
    pub fn of<E: DomainEvent>(event: &E, tenant_id: Uuid) -> Result<Self, PublishError> {
        let circumstances = Circumstances { tenant_id, ..Circumstances::default() };
        let record = OutboxRecord::build(event, circumstances, Codec::Json, &Clock::default())?;
        Ok(Self {
            bus: TransactionalEventBus::new(),
            meta: record.meta,
            published: AtomicBool::new(false),
        })
    }

    /// The envelope.
    pub fn envelope(&self) -> &EventMeta {
        &self.meta
    }

    /// The context of a handler.
    pub fn context<'c, S>(
        &'c self,
        txn: &'c DatabaseTransaction,
        state: &'c S,
    ) -> HandlerContext<'c, S> {
        let Self { bus, meta, published } = self;
        HandlerContext { txn, bus, meta, state, published }
    }

    /// The context of a handler with `inbox = none`.
    pub fn detached_context<'c, S>(&'c self, state: &'c S) -> DetachedContext<'c, S> {
        let Self { bus, meta, published } = self;
        DetachedContext { txn: (), bus, meta, state, published }
    }
}
