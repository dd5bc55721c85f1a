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
pub use self::{
    descriptor::{EventDescriptor, Scope},
    error::BoxError,
    event::{DecodeError, DomainEvent, EventId, Payload},
    key::{Key, PartitionKey},
    version::Lineage,
};

#[cfg(feature = "runtime")]
pub use rustok_events_derive::event_handler;
pub use rustok_events_derive::{DomainEvent, PartitionKey};

/// What the macros' output names. Not for use by hand: it changes without notice.
#[doc(hidden)]
pub mod __private;
