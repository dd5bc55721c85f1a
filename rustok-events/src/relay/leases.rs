//! The leases of one relay: taken, prolonged at a third of their length, given back.

use chrono::{DateTime, Utc};
use sea_orm::DatabaseConnection;
use tokio::sync::watch;

use super::{RelayConfig, RelayError, complaints::Complaints};
use crate::{
    backoff::{Backoff, retry},
    outbox::{Lease, OutboxStore, Renewed, store},
};

/// Keeps the leases of a relay, and tells its lanes which it holds.
pub(super) struct Leases {
    db: DatabaseConnection,
    config: RelayConfig,
    held: watch::Sender<Vec<Lease>>,
    complaints: Complaints,
}

impl Leases {
    pub(super) fn new(db: DatabaseConnection, config: RelayConfig) -> Self {
        Self { db, config, held: watch::Sender::new(Vec::new()), complaints: Complaints::default() }
    }

    /// What is held, now and from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<Vec<Lease>> {
        self.held.subscribe()
    }

    /// Where lanes say what keeps them from publishing.
    pub(super) fn complaints(&self) -> Complaints {
        self.complaints.clone()
    }

    /// Prolongs what is held and takes what is free. Ends only with an error that waiting cannot mend.
    ///
    /// Cancellation-safe: what was taken and not told ends by itself.
    pub(super) async fn keep(&self) -> Result<std::convert::Infallible, RelayError> {
        let store = store::of(&self.db)?;
        loop {
            let backoff = Backoff::new(self.config.min_tick, self.config.lease / 3);
            let passed_over =
                retry(backoff, "leases could not be taken", || self.take(store)).await?;
            if passed_over {
                // Real time: whoever has the rows locked lets go of them in a moment.
                tokio::time::sleep(self.config.max_tick).await;
            } else {
                self.config.clock.sleep_until(self.renewal()).await;
            }
        }
    }

    /// [`keep`](Self::keep) from the next renewal on, where leases were [taken](Self::take) just now.
    pub(super) async fn keep_on(&self) -> Result<std::convert::Infallible, RelayError> {
        self.config.clock.sleep_until(self.renewal()).await;
        self.keep().await
    }

    /// One look at the leases. `true` if another is due soon: rows were locked that should be held or prolonged.
    pub(super) async fn take(&self, store: &dyn OutboxStore) -> Result<bool, RelayError> {
        let held = self.held.borrow().clone();
        self.config.faults.database("relay.lease.before").await?;
        let Renewed { leases, passed_over } = store
            .lease(
                &self.db,
                &self.config.owner,
                self.complaints.code(),
                &held,
                &self.config.clock,
                self.config.lease,
            )
            .await?;
        self.config.faults.database("relay.lease.after").await?;
        for lost in held.iter().filter(|lease| !leases.iter().any(|new| new.is_same(lease))) {
            tracing::info!(owner = %self.config.owner, part = lost.part, "a lease went to another relay");
        }
        self.held.send_replace(leases);
        Ok(passed_over)
    }

    /// When to look again: after a third of the lease while something is held, counted from the lease's beginning,
    /// since time went by while the database answered; a stand-by looks more often, to take over soon.
    fn renewal(&self) -> DateTime<Utc> {
        let third = self.config.lease / 3;
        let first_end = self.held.borrow().iter().map(|lease| lease.until).min();
        first_end.map_or_else(
            || self.config.clock.now() + third.min(self.config.max_tick),
            |until| until - third * 2,
        )
    }

    /// Gives everything back. A failure to do so only makes the next relay wait for the leases' end.
    pub(super) async fn give_back(&self) {
        let held = self.held.send_replace(Vec::new());
        let Ok(store) = store::of(&self.db) else { return };
        if let Err(error) = store.release(&self.db, &self.config.owner, &held).await {
            tracing::warn!(%error, "the leases could not be given back; they end by themselves");
        }
    }
}
