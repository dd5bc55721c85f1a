//! Keeps the outbox small: published events go after the replay window, write-once ids after theirs.

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use tokio::sync::watch;

use super::RelayConfig;
use crate::outbox::{CleanedUp, Lease, retention};

/// How often it looks: often enough that a partition is made ahead of whatever is written.
const LOOK: Duration = Duration::from_secs(15);
/// Whoever holds this part keeps the log.
const FIRST_PART: i64 = 0;
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
    /// Cancellation-safe: a batch is one statement or one transaction.
    pub(super) async fn run(mut self) {
        loop {
            if self.leases.wait_for(|leases| have_first(leases)).await.is_err() {
                // The leases' end is the relay's.
                std::future::pending::<()>().await;
            }
            if let Err(error) = self.clean().await {
                complain(&error);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether this relay has the first part.
    pub(super) fn keeps_the_log(&self) -> bool {
        have_first(&self.leases.borrow())
    }

    pub(super) async fn clean(&self) -> Result<CleanedUp, DbErr> {
        let mut done = CleanedUp::default();
        while let Some(step) = self.step().await? {
            done.events += step.events;
            done.partitions += step.partitions;
            tokio::time::sleep(BREATH).await;
        }
        Ok(done)
    }

    /// Lets a batch of each kind go; `None` if there was nothing to let go.
    pub(super) async fn step(&self) -> Result<Option<CleanedUp>, DbErr> {
        let RelayConfig { clock, replay_window, write_once_window, min_partition, .. } =
            &self.config;
        let step = retention::prune(&self.db, *replay_window, *min_partition, clock).await?;
        let ids = retention::forget_ids(&self.db, *write_once_window, clock).await?;
        Ok((step != CleanedUp::default() || ids > 0).then_some(step))
    }
}

fn have_first(leases: &[Lease]) -> bool {
    leases.iter().any(|lease| lease.part == FIRST_PART)
}

/// Says that something is left to the next look.
pub(super) fn complain(error: &DbErr) {
    tracing::warn!(%error, "the outbox could not be cleaned up; tried again soon");
}
