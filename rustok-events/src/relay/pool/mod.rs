//! Many outboxes behind one relay, a tenant's each: visited in turn over a few connections.
//!
//! ```text
//!  roster, by when each is due       K workers                        one visit
//! ┌───────────────────────────┐    ┌───────────┐   ┌──────────────────────────────────────────────┐
//! │ acme   due now            │───▶│ worker 1  │──▶│ connect ─▶ look ─▶ lease ─▶ pages ─▶ give back │
//! │ beta   due in 200 ms      │    │ …         │   └──────────────────────────────────────────────┘
//! │ carol  away, in 3 s       │    │ worker K  │──▶ …
//! └───────────────────────────┘    └───────────┘
//! ```

mod outbox;
mod roster;
mod visit;

use std::{sync::Arc, time::Duration};

use sea_orm::ConnectOptions;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::outbox::PooledOutbox;
use self::roster::Roster;
use super::RelayConfig;
use crate::{outbox::wake, transport::EventTransport};

/// How a pool works.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RelayPoolConfig {
    /// How each outbox is relayed while it is visited. A visit has one lane, whatever is said here.
    pub relay: RelayConfig,
    /// The most connections in use at a time, over all outboxes, and so the most outboxes that are visited at a time.
    /// As many stay open between visits; with more outboxes than that, a visit begins by connecting. 8 unless set.
    pub max_connections: usize,
    /// The longest that an outbox keeps a connection while others wait for one; what is left then is for its next
    /// turn. Half a second unless set.
    pub turn: Duration,
    /// The longest an outbox without events waits for its next visit, if a connection is free. Each visit costs its
    /// server a connection and a few queries, so with many outboxes that are mostly quiet, more is better. 2 seconds
    /// unless set.
    pub max_pause: Duration,
}

impl Default for RelayPoolConfig {
    fn default() -> Self {
        Self {
            relay: RelayConfig::default(),
            max_connections: 8,
            turn: Duration::from_millis(500),
            max_pause: Duration::from_secs(2),
        }
    }
}

impl RelayPoolConfig {
    /// Sets the most connections in use at a time.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// Sets the longest pause between two visits of a quiet outbox.
    #[must_use]
    pub fn max_pause(mut self, pause: Duration) -> Self {
        self.max_pause = pause;
        self
    }

    /// Sets how each outbox is relayed.
    #[must_use]
    pub fn relay(mut self, relay: RelayConfig) -> Self {
        self.relay = relay;
        self
    }
}

/// Takes committed events of many outboxes, in a schema or a database each, to one transport, with a few connections
/// in all. A cheap handle. Several pools on the same outboxes, in several processes, share the work.
///
/// Outboxes are visited by when they are due, the longest due first. After a commit through
/// [`TransactionalEventBus::commit`](crate::TransactionalEventBus::commit) in this process, those are due at once that
/// had events within the last minute or whose connection is open; the others within
/// [`max_pause`](RelayPoolConfig::max_pause). An outbox that cannot be reached, or whose tables do not fit, holds up
/// none of the others: it is tried again with growing pauses, and of such outboxes one at a time.
///
/// ```no_run
/// # use rustok_events::{EventTransport, relay::{RelayPool, RelayPoolConfig}};
/// # use sea_orm::ConnectOptions;
/// # async fn relay(transport: impl EventTransport, token: tokio_util::sync::CancellationToken) {
/// let pool = RelayPool::new(transport, RelayPoolConfig::default().max_connections(4));
/// for tenant in ["acme", "beta", "carol"] {
///     let mut options = ConnectOptions::new("postgres://relay@db/app");
///     options.set_schema_search_path(tenant);
///     pool.add(tenant, options);
/// }
/// pool.run(token).await;
/// # }
/// ```
#[derive(Clone)]
pub struct RelayPool {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<dyn EventTransport>,
    config: RelayPoolConfig,
    roster: Roster,
    /// One call of `run` works at a time: two would take each other's leases for their own.
    working: tokio::sync::Mutex<()>,
}

impl RelayPool {
    /// A pool without outboxes.
    pub fn new(transport: impl EventTransport, config: RelayPoolConfig) -> Self {
        let roster = Roster::new(&config);
        let working = tokio::sync::Mutex::new(());
        Self { inner: Arc::new(Inner { transport: Arc::new(transport), config, roster, working }) }
    }

    /// Adds an outbox, before or while the pool runs; it is visited next. `name` is for status and records. `true` if
    /// it is new; one of that name that is there already is reached through the new options from its next visit on.
    ///
    /// The pool connects by itself, with at most one connection to each outbox: the numbers of connections in
    /// `options` are not used.
    pub fn add(&self, name: impl Into<String>, options: ConnectOptions) -> bool {
        self.inner.roster.add(name.into(), options)
    }

    /// Takes an outbox out; a visit that is going on ends by itself. `false` if there is none of that name. Its events
    /// stay where they are.
    pub fn remove(&self, name: &str) -> bool {
        self.inner.roster.remove(name)
    }

    /// How each outbox is doing, as of its last visit, by name. What waits in it, its own
    /// [health](crate::outbox::outbox_health) says.
    pub fn status(&self) -> Vec<PooledOutbox> {
        self.inner.roster.status()
    }

    /// Visits outboxes until `token` is cancelled; then finishes or abandons the pages at hand, within
    /// [`stop_timeout`](RelayConfig::stop_timeout), gives leases back and closes its connections.
    ///
    /// Never ends by an error: what is wrong with an outbox is logged, and told by [`status`](Self::status).
    ///
    /// Cancellation: dropping the future is safe; leases then end by themselves.
    pub async fn run(&self, token: CancellationToken) {
        let _working = self.inner.working.lock().await;
        let inner = &self.inner;
        let mut workers = JoinSet::new();
        for _ in 0..inner.config.max_connections.max(1) {
            workers.spawn(visit::work(Arc::clone(inner), token.clone()));
        }
        let out_of_patience = async {
            token.cancelled().await;
            tokio::time::sleep(inner.config.relay.stop_timeout).await;
        };
        let all_workers = async {
            while let Some(ended) = workers.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a worker of the pool crashed; another takes its place");
                    workers.spawn(visit::work(Arc::clone(inner), token.clone()));
                }
            }
        };
        tokio::select! {
            () = all_workers => {}
            () = inner.wake() => {}
            () = out_of_patience => {}
        }
        workers.shutdown().await;
        inner.roster.close().await;
    }
}

impl Inner {
    /// Makes outboxes due as events are committed in this process. Does not end.
    async fn wake(&self) {
        let mut commits = wake::listen();
        loop {
            commits.next().await;
            self.roster.wake();
            tokio::time::sleep(self.config.relay.min_tick).await;
        }
    }
}

impl std::fmt::Debug for RelayPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayPool").field("outboxes", &self.status()).finish_non_exhaustive()
    }
}
