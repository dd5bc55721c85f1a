//! Typed domain events for services on SeaORM and tokio.
//!
//! A struct declares its stream, topic and partition key; [`TransactionalEventBus`] writes it in the same
//! transaction as the state it tells of; a [`Relay`] takes committed events to Apache Iggy in order; typed
//! handlers receive each of them once.
//!
//! ```text
//! publish_in_tx ─▶ outbox ─▶ relay ─▶ topic ─▶ consumer ─▶ handler + inbox ─▶ offset
//! └──── one transaction ───┘                              └─ one transaction ─┘
//! ```
//!
//! A crate that only declares events depends on this one with `default-features = false`.

// What goes wrong is an error with a name. Where a panic or a print is right, it says why.
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

pub mod catalog;
mod check;
mod descriptor;
mod error;
mod event;
#[cfg(feature = "runtime")]
mod fault;
mod key;
mod version;

#[cfg(feature = "runtime")]
mod backoff;
#[cfg(feature = "runtime")]
pub mod clock;
#[cfg(feature = "runtime")]
pub mod codec;
#[cfg(feature = "runtime")]
pub mod consumer;
#[cfg(feature = "runtime")]
pub mod dead_letter;
#[cfg(feature = "runtime")]
pub mod envelope;
#[cfg(feature = "runtime")]
pub mod handler;
#[cfg(feature = "runtime")]
mod held;
#[cfg(feature = "runtime")]
mod inbox;
#[cfg(feature = "runtime")]
pub mod migration;
#[cfg(feature = "runtime")]
pub mod outbox;
#[cfg(feature = "runtime")]
mod partition;
#[cfg(feature = "runtime")]
pub mod relay;
#[cfg(feature = "runtime")]
mod runtime;
#[cfg(feature = "runtime")]
mod sql;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "runtime")]
pub mod transport;
#[cfg(feature = "runtime")]
mod trouble;

#[cfg(feature = "iggy")]
pub use self::transport::iggy;

pub mod prelude;

pub use self::{
    catalog::{Catalog, CatalogError},
    descriptor::{EventDescriptor, Scope},
    error::BoxError,
    event::{DecodeError, DomainEvent, EventId, Payload},
    key::{Key, PartitionKey},
    version::Lineage,
};
#[cfg(feature = "runtime")]
pub use self::{
    clock::Clock,
    codec::Codec,
    consumer::{ConsumerConfig, ConsumerError, ConsumerRuntime},
    envelope::{Envelope, EventMeta},
    handler::{Batch, DetachedContext, EventHandler, HandlerContext, HandlerError, HandlerResult},
    outbox::{OutboxTransaction, PublishError, TransactionalEventBus},
    relay::{Relay, RelayConfig, RelayError},
    runtime::{EventRuntime, EventRuntimeBuilder, RuntimeError},
    transport::{EventTransport, TransportError},
};

/// Declares a struct, or each variant of an enum, as a domain event.
///
/// ```
/// # use rustok_events::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # use uuid::Uuid;
/// #[derive(Serialize, Deserialize, DomainEvent)]
/// #[domain_event(stream = "commerce", topic = "orders", partition_key = order_id)]
/// struct OrderPlaced {
///     order_id: Uuid,
/// }
/// ```
///
pub use rustok_events_derive::DomainEvent;
/// Makes a newtype a partition key: its bytes are those of its only field.
///
/// ```
/// # use rustok_events::prelude::*;
/// #[derive(PartitionKey)]
/// struct OrderId(u64);
/// ```
///
pub use rustok_events_derive::PartitionKey;
/// Makes a free async function a handler of a consumer group: a unit struct of the function's name that implements
/// [`EventHandler`].
///
/// ```
/// # use rustok_events::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, DomainEvent)]
/// # #[domain_event(stream = "commerce", topic = "orders", partition_key = order_id)]
/// # struct OrderPlaced { order_id: u64 }
/// #[event_handler(group = "search")]
/// async fn index_order<S>(ctx: &mut HandlerContext<'_, S>, event: OrderPlaced) -> HandlerResult {
///     println!("order {} in event {}", event.order_id, ctx.envelope().id());
///     Ok(())
/// }
/// ```
///
#[cfg(feature = "runtime")]
pub use rustok_events_derive::event_handler;

/// What the macros' output names. Not for use by hand: it changes without notice.
#[doc(hidden)]
pub mod __private;
