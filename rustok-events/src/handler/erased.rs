//! Handlers of every type in one list: what the consumer knows of each, and how it calls it.

use std::{any::Any, panic::AssertUnwindSafe, sync::atomic::AtomicBool};

use futures::FutureExt;
use sea_orm::DatabaseTransaction;

use super::{
    Delivered, EventHandler, Failure, HandlerContext, HandlerInput, HandlerMode, HandlerOptions,
};
use crate::{
    DomainEvent, EventDescriptor, catalog::EventData, outbox::TransactionalEventBus,
    transport::BoxFuture,
};

/// What is known of a handler without calling it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandlerSpec {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) options: HandlerOptions,
    pub(crate) stream: &'static str,
    pub(crate) topic: &'static str,
    pub(crate) descriptors: &'static [EventDescriptor],
    pub(crate) event: EventData,
    /// Runs inside the inbox transaction.
    pub(crate) inbox: bool,
    /// Takes several events at once.
    pub(crate) batch: bool,
}

impl HandlerSpec {
    /// Whether events of this name are the handler's.
    pub(crate) fn accepts(&self, name: &str) -> bool {
        self.descriptors.iter().any(|descriptor| descriptor.name == name)
    }
}

/// What a call is given.
#[derive(Debug)]
pub struct Invocation<'c, S> {
    pub(crate) txn: Option<&'c DatabaseTransaction>,
    pub(crate) bus: &'c TransactionalEventBus,
    pub(crate) state: &'c S,
    pub(crate) published: &'c AtomicBool,
}

impl<S> Clone for Invocation<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Invocation<'_, S> {}

/// A handler of any type.
pub(crate) trait ErasedHandler<S>: Send + Sync {
    fn spec(&self) -> HandlerSpec;

    /// Decodes and handles deliveries: exactly one unless the handler takes batches.
    fn call<'a>(
        &'a self,
        invocation: Invocation<'a, S>,
        deliveries: &'a [&'a Delivered],
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// A typed handler, its type forgotten.
pub(crate) struct Erased<H>(pub(crate) H);

impl<S, H> ErasedHandler<S> for Erased<H>
where
    S: Send + Sync + 'static,
    H: EventHandler<S>,
{
    fn spec(&self) -> HandlerSpec {
        type Event<H, S> = <<H as EventHandler<S>>::Input as HandlerInput>::Event;
        HandlerSpec {
            group: H::GROUP,
            name: H::NAME,
            options: H::OPTIONS,
            stream: Event::<H, S>::STREAM,
            topic: Event::<H, S>::TOPIC,
            descriptors: Event::<H, S>::DESCRIPTORS,
            event: EventData::of::<Event<H, S>>(),
            inbox: H::Mode::INBOX,
            batch: H::Input::BATCH,
        }
    }

    fn call<'a>(
        &'a self,
        invocation: Invocation<'a, S>,
        deliveries: &'a [&'a Delivered],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let handled = async move {
            let input = H::Input::from_deliveries(deliveries).map_err(Failure::from)?;
            let Some(mut context) =
                HandlerContext::<S, H::Mode>::new(invocation, &deliveries[0].meta)
            else {
                let error = "the handler needs a transaction and was given none";
                return Err(Failure::retryable("no_transaction", error));
            };
            self.0.handle(&mut context, input).await.map_err(Failure::from)
        };
        // An event's own decoding and upcasting are the application's code as well.
        Box::pin(AssertUnwindSafe(handled).catch_unwind().map(|handled| {
            handled.unwrap_or_else(|panic| {
                let error = format!("the handler panicked: {}", panic_message(&*panic));
                Err(Failure::retryable("handler_panic", error))
            })
        }))
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
