//! The relay: takes committed events from the outbox to the broker, in order.
//!
//! ```text
//!          ┌────────────── leased parts, two lanes side by side ───────────────┐
//! cursors ─▶│ pages of events ─▶ batches by partition ─▶ acknowledged ─▶ advance │─▶ cursors
//!          └───────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A crash anywhere on the way repeats a page and loses none: the cursor moves only after the broker has
//! acknowledged every event of the page, and only under the lease the page was read with.

mod batches;
mod complaints;
mod config;
mod error;
mod janitor;
mod lane;
mod leases;
mod pace;
mod parking;
mod pool;
mod releaser;
mod sender;
mod spread;

use std::sync::Arc;

use sea_orm::DatabaseConnection;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::{
    config::RelayConfig,
    error::RelayError,
    pool::{PooledOutbox, RelayPool, RelayPoolConfig},
};
use self::{
    janitor::Janitor,
    lane::{Lane, Step},
    leases::Leases,
    pace::Pace,
    releaser::Releaser,
    sender::Sender,
    spread::Spread,
};
use crate::{
    backoff::{Backoff, retry},
    migration,
    outbox::{CleanedUp, cluster, store},
    sql,
    transport::EventTransport,
    trouble::{self, Trouble},
};

/// Takes committed events to a transport. A cheap handle; several relays on one outbox share the work, or stand by.
#[derive(Clone)]
pub struct Relay {
    inner: Arc<Inner>,
}

struct Inner {
    db: DatabaseConnection,
    transport: Arc<dyn EventTransport>,
    config: RelayConfig,
    /// One handle works at a time: two under one name would take each other's leases for their own.
    working: tokio::sync::Mutex<()>,
}

/// What [`Relay::drain`] saw done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DrainReport {
    /// Events that were published since the call began, by this relay or another.
    pub published: u64,
    /// Events that the broker refused for good, and events that wait behind one, set aside by this relay.
    pub parked: u64,
}

impl Relay {
    /// A relay from the outbox in `db` to `transport`. Nothing runs until [`run`](Self::run) or
    /// [`drain`](Self::drain).
    pub fn new(
        db: DatabaseConnection,
        transport: impl EventTransport,
        config: RelayConfig,
    ) -> Self {
        let working = tokio::sync::Mutex::new(());
        Self { inner: Arc::new(Inner { db, transport: Arc::new(transport), config, working }) }
    }

    /// Publishes events as they are committed, until `token` is cancelled; then finishes or abandons the page at
    /// hand, gives the lease back and returns.
    ///
    /// Waits through the absence of the database or the broker, with growing pauses.
    ///
    /// Cancellation: dropping the future is safe; the lease then ends by itself.
    ///
    /// # Errors
    /// [`RelayError`] that waiting cannot mend, such as a missing table or a partition count that differs from the
    /// declared one.
    pub fn run(
        &self,
        token: CancellationToken,
    ) -> impl Future<Output = Result<(), RelayError>> + Send + use<> {
        let inner = Arc::clone(&self.inner);
        async move {
            let _working = inner.working.lock().await;
            // Boxed, since whoever runs a relay would carry its whole size.
            Box::pin(inner.run(&token)).await
        }
    }

    /// Publishes everything that was committed before the call, and returns how much that was.
    ///
    /// Drives itself; where another relay holds the lease, waits for that one. On an error the events not yet
    /// published stay in the outbox.
    ///
    /// # Errors
    /// The first [`RelayError`], of the database or the broker.
    pub async fn drain(&self) -> Result<DrainReport, RelayError> {
        let _working = self.inner.working.lock().await;
        let leases = self.inner.leases();
        let result = self.inner.drain(&leases).await;
        leases.give_back().await;
        result
    }
}

impl Relay {
    /// Lets go of published events older than the replay window, and of write-once ids older than theirs: on
    /// PostgreSQL by whole partitions of the log, of which it also makes the next, elsewhere in small batches. A relay
    /// that [runs](Self::run) does so by itself.
    ///
    /// Cancellation-safe: each batch is one statement or one transaction, each change of the partitions one transaction.
    ///
    /// # Errors
    /// The database's; what was let go before stays gone.
    pub async fn clean_up(&self) -> Result<CleanedUp, RelayError> {
        let Inner { db, config, .. } = &*self.inner;
        Ok(Janitor::new(db.clone(), config.clone(), self.inner.leases().subscribe())
            .clean()
            .await?)
    }
}

impl Inner {
    fn leases(&self) -> Leases {
        Leases::new(self.db.clone(), self.config.clone())
    }

    fn lanes(&self, leases: &Leases) -> impl Iterator<Item = Lane> {
        let spread = Spread::over(self.config.lanes);
        (0..self.config.lanes.max(1)).map(move |number| {
            let sender = Sender::new(Arc::clone(&self.transport), &self.config);
            let pace = Pace::new(self.config.page_size);
            Lane::new(self.db.clone(), sender, self.config.clone(), leases, &spread, number, pace)
        })
    }

    /// Waits until the database can be asked, and refuses to work on tables that do not fit.
    async fn check(&self) -> Result<(), RelayError> {
        let backoff = Backoff::new(self.config.min_tick, self.config.max_backoff);
        retry(backoff, "the outbox cannot be looked at", || check_once(&self.db)).await
    }

    async fn run(&self, token: &CancellationToken) -> Result<(), RelayError> {
        let Some(checked) = token.run_until_cancelled(self.check()).await else { return Ok(()) };
        checked?;
        sql::complain_unless_durable(&self.db).await;
        let leases = self.leases();
        let stop = token.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let mut lanes = JoinSet::new();
        for lane in self.lanes(&leases) {
            lanes.spawn(lane.run(stop.clone()));
        }
        let releaser = Releaser::new(self.db.clone(), self.config.clone(), leases.subscribe());
        let janitor = Janitor::new(self.db.clone(), self.config.clone(), leases.subscribe());
        let all_lanes = async {
            let mut result = Ok(());
            while let Some(joined) = lanes.join_next().await {
                // A lane that fails stops the others, and they finish their pages like at any stop.
                stop.cancel();
                let ended = joined.unwrap_or_else(|error| Err(RelayError::Crashed(error.into())));
                result = result.and(ended);
            }
            result
        };
        // A stop lets the pages at hand finish, so that they are not published a second time.
        let out_of_patience = async {
            token.cancelled().await;
            tokio::time::sleep(self.config.stop_timeout).await;
        };
        let result = tokio::select! {
            result = all_lanes => result,
            kept = leases.keep() => kept.map(|_| ()),
            () = janitor.run() => Ok(()),
            released = releaser.run() => released.map(|_| ()),
            () = out_of_patience => Ok(()),
        };
        lanes.shutdown().await;
        leases.give_back().await;
        result
    }

    async fn drain(&self, leases: &Leases) -> Result<DrainReport, RelayError> {
        let store = store::of(&self.db)?;
        check_once(&self.db).await?;
        let mark = store.mark(&self.db).await?;
        let published = store.backlog(&self.db, &mark).await?;
        let work = async {
            let mut lanes: Vec<Lane> = self.lanes(leases).collect();
            while !store.is_drained(&self.db, &mark).await? {
                let steps = lanes.iter_mut().map(step_unless_in_the_way);
                let steps = futures::future::try_join_all(steps).await?;
                if !steps.contains(&Step::Published) {
                    tokio::time::sleep(self.config.min_tick).await;
                }
            }
            let parked = lanes.iter().map(Lane::parked).sum();
            Ok(DrainReport { published: published.saturating_sub(parked), parked })
        };
        if published == 0 {
            return Ok(DrainReport::default());
        }
        tokio::select! {
            result = work => result,
            kept = leases.keep() => kept.map(|_| DrainReport::default()),
        }
    }
}

/// Refuses to work on tables that do not fit.
async fn check_once(db: &DatabaseConnection) -> Result<(), RelayError> {
    store::of(db)?;
    migration::check(db).await?;
    check_cluster(db).await
}

/// Refuses to work on cursors of another cluster.
async fn check_cluster(db: &DatabaseConnection) -> Result<(), RelayError> {
    match cluster::check(db).await? {
        Some(trouble) => Err(RelayError::Cluster(trouble)),
        None => Ok(()),
    }
}

/// A step; two lanes whose transactions were in each other's way do theirs again.
async fn step_unless_in_the_way(lane: &mut Lane) -> Result<Step, RelayError> {
    match lane.step().await {
        Err(RelayError::Database(error)) if trouble::of(&error) == Trouble::Conflict => {
            Ok(Step::Fenced)
        }
        step => step,
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}
