//! Keeps the outbox small: published events go after the replay window, write-once ids after theirs.

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use tokio::sync::watch;

use super::RelayConfig;
use crate::outbox::{Lease, retention};

/// How often it looks.
const LOOK: Duration = Duration::from_mins(1);
/// What it waits between two batches, so that it never has a database to itself.
const BREATH: Duration = Duration::from_millis(20);

pub(super) struct Janitor {
    db: DatabaseConnection,
    config: RelayConfig,
    leases: watch::Receiver<Vec<Lease>>,
}

impl Janitor {
    pub(super) fn new(
        db: DatabaseConnection,
        config: RelayConfig,
        leases: watch::Receiver<Vec<Lease>>,
    ) -> Self {
        Self { db, config, leases }
    }

    /// Cleans up for as long as it is polled, while this relay has the first part: one relay is enough. An error
    /// only means that the next look has more to do.
    ///
    /// Cancellation-safe: a batch is one statement.
    pub(super) async fn run(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let first = self.leases.borrow().iter().any(|lease| lease.part == 0);
            if !first {
                continue;
            }
            if let Err(error) = self.clean().await {
                tracing::warn!(%error, "the outbox could not be cleaned up; tried again in a minute");
            }
        }
    }

    pub(super) async fn clean(&self) -> Result<u64, DbErr> {
        let clock = &self.config.clock;
        let mut deleted = 0;
        loop {
            let events = retention::prune(&self.db, self.config.replay_window, clock).await?;
            let ids = retention::forget_ids(&self.db, self.config.write_once_window, clock).await?;
            deleted += events;
            if events == 0 && ids == 0 {
                return Ok(deleted);
            }
            tokio::time::sleep(BREATH).await;
        }
    }
}
