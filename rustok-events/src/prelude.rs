//! What a file that declares or handles events imports: `use rustok_events::prelude::*;`.

#[cfg(feature = "runtime")]
pub use crate::{
    Batch, DetachedContext, Envelope, EventHandler, HandlerContext, HandlerError, HandlerResult,
    OutboxTransaction, PublishError, TransactionalEventBus, event_handler, handler::Terminal,
};
pub use crate::{DomainEvent, EventDescriptor, EventId, Key, PartitionKey};
