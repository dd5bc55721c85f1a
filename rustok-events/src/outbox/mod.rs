//! The transactional outbox: where an event is written, and how it is read back in order.
//!
//! ```text
//! TransactionalEventBus ─▶ OutboxRecord ─▶ store (insert) ─▶ rustok_outbox ─▶ store (page, advance) ─▶ relay
//! ```

mod bus;
pub(crate) mod cluster;
pub(crate) mod delayed;
mod error;
mod health;
pub(crate) mod parked;
mod record;
pub(crate) mod retention;
pub(crate) mod status;
pub(crate) mod store;
mod transaction;
pub(crate) mod wake;

#[cfg(feature = "testing")]
pub(crate) use self::record::Circumstances;
pub use self::{
    bus::{EventBuilder, Publishing, PublishingAll, TransactionalEventBus},
    cluster::{ClusterTrouble, rebase},
    error::{CommitError, PublishError},
    health::{OutboxHealth, OutboxTrouble, SKEW_FROM, STALL_AFTER, outbox_health},
    parked::{ParkedEvent, discard_parked, parked_events, retry_parked},
    retention::republish,
    status::{OutboxStatus, PartStatus, RelayStatus, outbox_status},
    store::{CleanedUp, Unsupported},
    transaction::OutboxTransaction,
};
pub(crate) use self::{
    record::OutboxRecord,
    store::{Ask, Lease, Look, OutboxStore, Page, Renewed, StoredEvent},
};
