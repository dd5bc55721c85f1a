//! What an app under test is made of.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use sea_orm::{DatabaseConnection, DbErr};
use tokio_util::sync::CancellationToken;

use super::{
    Counts, SETTLE_TIMEOUT, TestApp,
    life::Life,
    observed::{Observed, Traffic},
};
use crate::{
    Clock, ConsumerConfig, RelayConfig, TransactionalEventBus,
    consumer::middleware::Middleware,
    fault::Faults,
    handler::{Erased, ErasedHandler, EventHandler},
    testing::{FaultyTransport, TestError, home::Home},
    transport::iggy::{EmbeddedConfig, IggyConfig, IggyTransport},
};

type Prepare = Box<
    dyn FnOnce(DatabaseConnection) -> Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send>>
        + Send,
>;

/// Collects what an app is made of. Made by [`TestApp::builder`].
#[must_use = "nothing runs until `start`"]
pub struct TestAppBuilder<S> {
    state: Arc<S>,
    handlers: Vec<Arc<dyn ErasedHandler<S>>>,
    middleware: Vec<Arc<dyn Middleware>>,
    database: Place,
    prepare: Vec<Prepare>,
    relay: RelayConfig,
    consumers: ConsumerConfig,
    settle_timeout: Duration,
    faults: Faults,
}

enum Place {
    Memory,
    Url(String),
    Connection(DatabaseConnection),
}

impl TestAppBuilder<()> {
    pub(super) fn new() -> Self {
        let consumers =
            ConsumerConfig { retry_in_place: Duration::ZERO, ..ConsumerConfig::default() };
        Self {
            state: Arc::new(()),
            handlers: Vec::new(),
            middleware: Vec::new(),
            database: Place::Memory,
            prepare: Vec::new(),
            relay: RelayConfig::default(),
            consumers,
            settle_timeout: SETTLE_TIMEOUT,
            faults: Faults::none(),
        }
    }

    /// Gives the handlers their state. Comes before [`handler`](Self::handler).
    pub fn state<S: Send + Sync + 'static>(self, state: S) -> TestAppBuilder<S> {
        TestAppBuilder {
            state: Arc::new(state),
            handlers: Vec::new(),
            middleware: self.middleware,
            database: self.database,
            prepare: self.prepare,
            relay: self.relay,
            consumers: self.consumers,
            settle_timeout: self.settle_timeout,
            faults: self.faults,
        }
    }
}

impl<S: Send + Sync + 'static> TestAppBuilder<S> {
    /// Adds a handler.
    pub fn handler<H: EventHandler<S>>(mut self, handler: H) -> Self {
        self.handlers.push(Arc::new(Erased(handler)));
        self
    }

    /// Wraps every call of every handler; the first added is the outermost.
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.middleware.push(Arc::new(middleware));
        self
    }

    /// Runs the test on another database: on a PostgreSQL server in a schema of its own, on a MySQL or MariaDB
    /// server in a database of its own, both dropped at the end; a SQLite file as it is.
    pub fn database(mut self, url: impl Into<String>) -> Self {
        self.database = Place::Url(url.into());
        self
    }

    /// Runs the test on a database that is connected already.
    pub fn connection(mut self, db: DatabaseConnection) -> Self {
        self.database = Place::Connection(db);
        self
    }

    /// Makes the application's own tables, before anything runs: `.prepare(|db| async move { Migrator::up(&db,
    /// None).await })`.
    pub fn prepare<F, Fut>(mut self, prepare: F) -> Self
    where
        F: FnOnce(DatabaseConnection) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), DbErr>> + Send + 'static,
    {
        self.prepare.push(Box::new(|db| Box::pin(prepare(db))));
        self
    }

    /// Sets how the relay works. Its clock is the app's.
    pub fn relay(mut self, config: RelayConfig) -> Self {
        self.relay = config;
        self
    }

    /// Changes how the consumers work. Their clock is the app's; by default nothing is retried in place, so that
    /// every retry waits for the clock.
    pub fn consumers(mut self, change: impl FnOnce(&mut ConsumerConfig)) -> Self {
        change(&mut self.consumers);
        self
    }

    /// Sets what goes wrong, in the relay, in the consumers and at the broker: `Faults::seeded(seed)`, or named points.
    ///
    /// What crashes comes back after its leases have ended: the clock is moved by two minutes then. A pause takes a
    /// tenth of a second of real time.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults.pause(Duration::from_millis(100));
        self
    }

    /// Sets how long [`TestApp::settle`] waits.
    pub fn settle_timeout(mut self, timeout: Duration) -> Self {
        self.settle_timeout = timeout;
        self
    }

    /// Starts everything.
    ///
    /// # Errors
    /// What the database or the broker refuse, and [`BuildError`](crate::consumer::BuildError).
    pub async fn start(self) -> Result<TestApp, TestError> {
        let broker = IggyConfig {
            embedded: EmbeddedConfig { persistent: false, ..EmbeddedConfig::default() },
            ..IggyConfig::default()
        };
        let home = async {
            Ok::<_, TestError>(match self.database {
                Place::Memory => Home::in_memory().await?,
                Place::Url(url) => Home::at(&url).await?,
                Place::Connection(db) => Home::on(db).await?,
            })
        };
        let transport = async { Ok::<_, TestError>(IggyTransport::new(broker).await?) };
        let (home, transport) = tokio::try_join!(home, transport)?;
        for prepare in self.prepare {
            prepare(home.db.clone()).await?;
        }
        let (clock, counts, traffic) = (Clock::manual(), Counts::default(), Traffic::default());
        let specs = self.handlers.iter().map(|handler| handler.spec()).collect();
        let mut consumers = self.consumers;
        consumers.clock = clock.clone();
        let bus =
            TransactionalEventBus::new().with_codec(consumers.codec).with_clock(clock.clone());
        let broken = FaultyTransport::new(transport.clone(), self.faults.clone());
        let life = Life {
            db: home.db.clone(),
            state: self.state,
            handlers: self.handlers,
            middleware: std::iter::once(Arc::new(counts.clone()) as Arc<dyn Middleware>)
                .chain(self.middleware)
                .collect(),
            transport: Arc::new(Observed { inner: broken, traffic: traffic.clone() }),
            relay: self.relay.clock(clock.clone()),
            consumers,
            faults: self.faults,
        };
        let token = CancellationToken::new();
        let first = life.begin()?;
        let running = tokio::spawn(life.run(first, token.clone()));
        Ok(TestApp {
            home,
            clock,
            bus,
            specs,
            counts,
            traffic,
            transport,
            token,
            running: std::sync::Mutex::new(Some(running)),
            settle_timeout: self.settle_timeout,
        })
    }
}

impl<S> std::fmt::Debug for TestAppBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestAppBuilder").finish_non_exhaustive()
    }
}
