//! What a handler is given besides the event.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use sea_orm::DatabaseTransaction;

use super::erased::Invocation;
use crate::{
    DomainEvent,
    envelope::EventMeta,
    outbox::{EventBuilder, Publishing, TransactionalEventBus},
};

/// Whether a handler runs inside the inbox transaction: [`Transactional`] or [`Detached`].
pub trait HandlerMode: sealed::Sealed + Send + Sync + Sized + 'static {
    /// The transaction of a call, if the mode has one.
    #[doc(hidden)]
    type Txn<'c>: Copy + Send + Sync + std::fmt::Debug;
    /// Whether the inbox guards its handlers.
    #[doc(hidden)]
    const INBOX: bool;
    /// The transaction of an invocation; `None` if the mode needs one and there is none.
    #[doc(hidden)]
    fn txn<S>(invocation: Invocation<'_, S>) -> Option<Self::Txn<'_>>;
}

/// Inbox row, effects and follow-up events in one transaction: effectively once.
#[derive(Debug, Clone, Copy)]
pub struct Transactional;

/// `inbox = none`: no transaction, at least once.
#[derive(Debug, Clone, Copy)]
pub struct Detached;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Transactional {}
    impl Sealed for super::Detached {}
}

impl HandlerMode for Transactional {
    type Txn<'c> = &'c DatabaseTransaction;
    const INBOX: bool = true;

    fn txn<S>(invocation: Invocation<'_, S>) -> Option<Self::Txn<'_>> {
        invocation.txn
    }
}

impl HandlerMode for Detached {
    type Txn<'c> = ();
    const INBOX: bool = false;

    fn txn<S>(_: Invocation<'_, S>) -> Option<Self::Txn<'_>> {
        Some(())
    }
}

/// The context of a handler: its transaction, its state, and where the event came from.
///
/// Everything done through [`tx`](Self::tx) and [`publish`](Self::publish) commits together with the inbox row, or
/// not at all.
#[derive(Debug)]
pub struct HandlerContext<'c, S, M: HandlerMode = Transactional> {
    pub(crate) txn: M::Txn<'c>,
    pub(crate) bus: &'c TransactionalEventBus,
    pub(crate) meta: &'c EventMeta,
    pub(crate) state: &'c S,
    /// Set once the handler published, so that the relay is woken after the commit.
    pub(crate) published: &'c AtomicBool,
}

/// The context of a handler with `inbox = none`: it has no transaction, so it has no `tx()` and no `publish()`.
pub type DetachedContext<'c, S> = HandlerContext<'c, S, Detached>;

impl<'c, S, M: HandlerMode> HandlerContext<'c, S, M> {
    /// The context of one call; `None` if the mode needs a transaction and there is none.
    pub(crate) fn new(invocation: Invocation<'c, S>, meta: &'c EventMeta) -> Option<Self> {
        let Invocation { bus, state, published, .. } = invocation;
        Some(Self { txn: M::txn(invocation)?, bus, meta, state, published })
    }

    /// The application's state.
    pub fn state(&self) -> &'c S {
        self.state
    }

    /// Where the event came from; for a batch, its first event.
    pub fn envelope(&self) -> &'c EventMeta {
        self.meta
    }
}

impl<'c, S> HandlerContext<'c, S, Transactional> {
    /// The transaction that the inbox row is in.
    pub fn tx(&self) -> &'c DatabaseTransaction {
        self.txn
    }

    /// Publishes a follow-up event in this transaction: same tenant and actor, same correlation, caused by the
    /// event at hand.
    pub fn publish<E: DomainEvent>(&self, event: E) -> Publishing<'c> {
        self.follow_up(event).publish_in_tx(self.txn)
    }
}

impl<'c, S> HandlerContext<'c, S, Transactional> {
    /// Publishes a follow-up event like [`publish`](Self::publish), but no sooner than `time`.
    pub fn publish_at<E: DomainEvent>(
        &self,
        time: impl Into<DateTime<Utc>>,
        event: E,
    ) -> Publishing<'c> {
        self.follow_up(event).at(time).publish_in_tx(self.txn)
    }

    fn follow_up<E: DomainEvent>(&self, event: E) -> EventBuilder<'c, E> {
        self.published.store(true, Ordering::Relaxed);
        self.bus
            .event(event)
            .tenant(self.meta.tenant_id)
            .actor(self.meta.actor_id)
            .caused_by(self.meta)
    }
}

/// The context that a handler's function asks for: the one it is given, as the compiler explains it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the context that this handler is given",
    label = "not this handler's context",
    note = "a handler takes `&mut HandlerContext<'_, State>`; with `inbox = none` it takes `&mut DetachedContext<'_, State>`, which has no transaction"
)]
pub trait Given<'c, S, M: HandlerMode> {
    /// The context.
    fn given<'a>(ctx: &'a mut HandlerContext<'c, S, M>) -> &'a mut Self;
}

impl<'c, S, M: HandlerMode> Given<'c, S, M> for HandlerContext<'c, S, M> {
    fn given(ctx: &mut Self) -> &mut Self {
        ctx
    }
}

/// The context, in the type that a handler's function asks for.
#[doc(hidden)]
pub fn given<'a, 'c, S, M: HandlerMode, C: Given<'c, S, M>>(
    ctx: &'a mut HandlerContext<'c, S, M>,
) -> &'a mut C {
    C::given(ctx)
}

impl<S, M: HandlerMode> AsRef<EventMeta> for HandlerContext<'_, S, M> {
    fn as_ref(&self) -> &EventMeta {
        self.meta
    }
}
