//! Moves delayed events into the log when they are due.

use std::time::Duration;

use sea_orm::DatabaseConnection;
use tokio::sync::watch;

use super::{RelayConfig, RelayError};
use crate::{
    backoff::Backoff,
    outbox::{
        Lease, PublishError,
        delayed::{self, Delayed},
        wake::{self, Commits},
    },
};

/// How late an event can be that another process delayed after this one had looked.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Releaser {
    db: DatabaseConnection,
    config: RelayConfig,
    leases: watch::Receiver<Vec<Lease>>,
}

impl Releaser {
    pub(super) fn new(
        db: DatabaseConnection,
        config: RelayConfig,
        leases: watch::Receiver<Vec<Lease>>,
    ) -> Self {
        Self { db, config, leases }
    }

    /// Releases what is due, while this relay holds anything. Ends only with an error that waiting cannot mend.
    ///
    /// Cancellation-safe: a release is one transaction.
    pub(super) async fn run(mut self) -> Result<std::convert::Infallible, RelayError> {
        let mut commits = wake::listen();
        let mut delayed = Delayed::listen();
        let mut backoff = Backoff::new(self.config.min_tick, self.config.max_backoff);
        loop {
            // A stand-by leaves it to the relays that work.
            let working = self.leases.wait_for(|held| !held.is_empty()).await.is_ok();
            if !working {
                std::future::pending::<()>().await;
            }
            match self.release().await {
                Ok(None) => {
                    backoff.reset();
                    wake::notify();
                }
                Ok(Some(pause)) => {
                    backoff.reset();
                    self.wait(&mut commits, &mut delayed, pause).await;
                }
                Err(PublishError::Database(error)) if crate::sql::is_missing_table(&error) => {
                    return Err(error.into());
                }
                Err(error) => {
                    let pause = backoff.next();
                    tracing::warn!(code = error.code(), %error, retry_in = ?pause, "delayed events could not be released");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Releases what is due; `None` if there was something, else how long nothing will be due.
    pub(super) async fn release(&self) -> Result<Option<Duration>, PublishError> {
        let clock = &self.config.clock;
        let pause = match delayed::next_due(&self.db).await? {
            Some(due) => (due - clock.now()).to_std().unwrap_or_default(),
            None => Duration::MAX,
        };
        if pause.is_zero() {
            self.config.faults.database("relay.release.before").await?;
            let released = delayed::release(&self.db, clock).await?;
            self.config.faults.database("relay.release.after").await?;
            // What is due and was not released is another relay's to release, which has begun to.
            return Ok((released == 0).then_some(self.config.max_tick));
        }
        Ok(Some(pause))
    }

    /// Waits until the next event is due, until one was delayed here, or until it is time to look again.
    async fn wait(&self, commits: &mut Commits, delayed: &mut Delayed, pause: Duration) {
        let delayed_here = async {
            loop {
                commits.next().await;
                if delayed.any() {
                    return;
                }
            }
        };
        let due = async {
            if pause < Duration::from_hours(24) {
                self.config.clock.sleep(pause).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = due => {}
            () = delayed_here => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
