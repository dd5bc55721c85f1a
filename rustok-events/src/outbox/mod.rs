//! The transactional outbox: where an event is written, and how it is read back in order.
//!
//! ```text
//! TransactionalEventBus ─▶ OutboxRecord ─▶ store (insert) ─▶ rustok_outbox ─▶ store (page, advance) ─▶ relay
//! ```

mod bus;
pub(crate) mod delayed;
mod error;
pub(crate) mod parked;
mod record;
pub(crate) mod store;
mod transaction;
pub(crate) mod wake;

#[cfg(feature = "testing")]
pub(crate) use self::record::Circumstances;
pub use self::{
    bus::{EventBuilder, Publishing, PublishingAll, TransactionalEventBus},
    error::{CommitError, PublishError},
    parked::{ParkedEvent, discard_parked, parked_events, retry_parked},
    store::Unsupported,
    transaction::OutboxTransaction,
};
pub(crate) use self::{
    record::OutboxRecord,
    store::{Lease, OutboxStore, Page, StoredEvent},
};
