//! What happens around every call of a handler.
//!
//! ```text
//! call ─▶ first middleware ─▶ second ─▶ … ─▶ decode and handle
//!                 ◀─────────── Ok, or why not ◀───────────┘
//! ```
//!
//! A middleware runs inside the transaction of the call, before it commits: what it answers decides.

mod metrics;
mod tenant;

use std::{fmt, sync::Arc};

pub use self::{
    metrics::Metrics,
    tenant::{TenantScope, current_tenant},
};
use crate::{
    envelope::EventMeta,
    handler::{Delivered, Failure},
    transport::BoxFuture,
};

/// Wraps every call of every handler of a runtime. Add it with
/// [`ConsumerRuntimeBuilder::middleware`](super::ConsumerRuntimeBuilder::middleware).
///
/// ```
/// use rustok_events::{consumer::middleware::{Call, Middleware, Next}, handler::Failure, transport::BoxFuture};
///
/// struct Log;
/// impl Middleware for Log {
///     fn handle<'a>(&'a self, call: Call<'a>, next: Next<'a>) -> BoxFuture<'a, Result<(), Failure>> {
///         Box::pin(async move {
///             println!("{} gets {}", call.handler(), call.envelope().name());
///             let result = next.run().await;
///             println!("{} is done: {result:?}", call.handler());
///             result
///         })
///     }
/// }
/// ```
pub trait Middleware: Send + Sync + 'static {
    /// Handles one call: before, `next.run()`, after. Not calling `next` and answering `Ok` counts the event as
    /// handled.
    ///
    /// Cancellation: the future is dropped when the call takes longer than
    /// [`handler_timeout`](super::ConsumerConfig::handler_timeout), and when the runtime is.
    fn handle<'a>(&'a self, call: Call<'a>, next: Next<'a>) -> BoxFuture<'a, Result<(), Failure>>;
}

impl<M: Middleware + ?Sized> Middleware for Arc<M> {
    fn handle<'a>(&'a self, call: Call<'a>, next: Next<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        M::handle(self, call, next)
    }
}

/// One call of a handler.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub(super) group: &'static str,
    pub(super) handler: &'static str,
    pub(super) deliveries: &'a [&'a Delivered],
}

impl<'a> Call<'a> {
    /// The group.
    pub fn group(&self) -> &'static str {
        self.group
    }

    /// The handler's durable name.
    pub fn handler(&self) -> &'static str {
        self.handler
    }

    /// Where the event came from; for a batch, its first event.
    pub fn envelope(&self) -> &'a EventMeta {
        &self.deliveries[0].meta
    }

    /// The envelopes of all events of the call: one, unless the handler takes batches.
    pub fn envelopes(&self) -> impl ExactSizeIterator<Item = &'a EventMeta> + use<'a> {
        self.deliveries.iter().map(|delivered| &delivered.meta)
    }
}

/// The rest of the way to the handler.
pub struct Next<'a> {
    pub(super) rest: &'a [Arc<dyn Middleware>],
    pub(super) call: Call<'a>,
    pub(super) handler: BoxFuture<'a, Result<(), Failure>>,
}

impl<'a> Next<'a> {
    /// Goes on to the next middleware, or to the handler.
    pub fn run(self) -> BoxFuture<'a, Result<(), Failure>> {
        match self.rest.split_first() {
            Some((first, rest)) => first.handle(self.call, Next { rest, ..self }),
            None => self.handler,
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("call", &self.call).finish_non_exhaustive()
    }
}
