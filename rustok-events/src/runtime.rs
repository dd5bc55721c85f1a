//! Relay and consumers under one life cycle.

use std::{future::Future, sync::Arc};

use sea_orm::DatabaseConnection;
use tokio_util::sync::CancellationToken;

use crate::{
    Relay, RelayConfig, RelayError, TransactionalEventBus,
    catalog::EventSet,
    consumer::{
        BuildError, ConsumerConfig, ConsumerError, ConsumerRuntimeBuilder, middleware::Middleware,
    },
    handler::EventHandler,
    transport::{EventTransport, TopicName},
};

/// Everything a service runs: a relay for what it publishes, consumers for what it handles.
///
/// ```no_run
/// # use rustok_events::{EventRuntime, EventTransport, BoxError};
/// # async fn f(db: sea_orm::DatabaseConnection, transport: impl EventTransport) -> Result<(), BoxError> {
/// EventRuntime::builder(db).transport(transport).run_until(tokio::signal::ctrl_c()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct EventRuntime<S> {
    relay: Option<Relay>,
    consumers: crate::ConsumerRuntime<S>,
    bus: TransactionalEventBus,
}

impl EventRuntime<()> {
    /// Starts a runtime on a database.
    pub fn builder(db: DatabaseConnection) -> EventRuntimeBuilder<()> {
        EventRuntimeBuilder {
            consumers: ConsumerRuntimeBuilder::new(db.clone(), None),
            db,
            relay: Some(RelayConfig::default()),
        }
    }
}

#[cfg(feature = "testing")]
impl<S: Send + Sync + 'static> EventRuntime<S> {
    /// Starts a runtime with handlers whose types are forgotten.
    pub(crate) fn from_parts(
        db: DatabaseConnection,
        state: Arc<S>,
        handlers: Vec<Arc<dyn crate::handler::ErasedHandler<S>>>,
    ) -> EventRuntimeBuilder<S> {
        EventRuntimeBuilder {
            consumers: ConsumerRuntimeBuilder::from_parts(db.clone(), state, handlers),
            db,
            relay: Some(RelayConfig::default()),
        }
    }
}

impl<S: Send + Sync + 'static> EventRuntime<S> {
    /// A bus that encodes payloads and stamps events as the runtime does.
    pub fn bus(&self) -> TransactionalEventBus {
        self.bus.clone()
    }

    /// Calls the handlers that a group has here with messages that are read again, as
    /// [`ConsumerRuntime::replay`](crate::ConsumerRuntime::replay) does.
    pub fn replay<'r>(
        &'r self,
        group: &'r str,
        topic: &'r TopicName,
    ) -> crate::consumer::GroupReplay<'r, S> {
        self.consumers.replay(group, topic)
    }

    /// Runs until `token` is cancelled, then stops consumers and relay, each finishing what it has begun. If one of
    /// them fails, the other is stopped too.
    ///
    /// Cancellation: dropping the future rolls back what is being handled; nothing unfinished is acknowledged.
    ///
    /// # Errors
    /// The first [`RuntimeError`].
    pub async fn run(self, token: CancellationToken) -> Result<(), RuntimeError> {
        let stop = token.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let relay = async {
            let result = if let Some(relay) = &self.relay {
                relay.run(stop.clone()).await
            } else {
                stop.cancelled().await;
                Ok(())
            };
            stop.cancel();
            result.map_err(RuntimeError::from)
        };
        let consumers = async {
            let result = self.consumers.run(stop.clone()).await;
            stop.cancel();
            result.map_err(RuntimeError::from)
        };
        let (relay, consumers) = tokio::join!(relay, consumers);
        relay.and(consumers)
    }
}

/// Collects what a runtime runs. Made by [`EventRuntime::builder`].
#[must_use = "nothing runs until `run_until`, or `build` and `run`"]
pub struct EventRuntimeBuilder<S> {
    db: DatabaseConnection,
    relay: Option<RelayConfig>,
    consumers: ConsumerRuntimeBuilder<S>,
}

impl EventRuntimeBuilder<()> {
    /// Gives the handlers their state. Comes before [`handler`](Self::handler).
    pub fn state<S: Send + Sync + 'static>(self, state: S) -> EventRuntimeBuilder<S> {
        EventRuntimeBuilder {
            db: self.db,
            relay: self.relay,
            consumers: self.consumers.state(state),
        }
    }
}

impl<S: Send + Sync + 'static> EventRuntimeBuilder<S> {
    /// Sets the transport.
    pub fn transport(mut self, transport: impl EventTransport) -> Self {
        self.consumers = self.consumers.transport(Arc::new(transport));
        self
    }

    /// Adds a handler.
    pub fn handler<H: EventHandler<S>>(mut self, handler: H) -> Self {
        self.consumers = self.consumers.handler(handler);
        self
    }

    /// Sets how the relay works.
    pub fn relay(mut self, config: RelayConfig) -> Self {
        self.relay = Some(config);
        self
    }

    /// Runs no relay here: another process takes this database's events to the broker.
    pub fn without_relay(mut self) -> Self {
        self.relay = None;
        self
    }

    /// Makes events known that no handler here need take: a group that handles several events of a topic then has
    /// to handle or to [`ignore`](Self::ignore) each known event of it. They are also checked as a
    /// [`Catalog`](crate::Catalog) is.
    pub fn known_events<E: EventSet>(mut self) -> Self {
        self.consumers = self.consumers.known_events::<E>();
        self
    }

    /// Leaves events out of a group on purpose, by their names on the wire.
    pub fn ignore(mut self, group: &'static str, events: &[&'static str]) -> Self {
        self.consumers = self.consumers.ignore(group, events);
        self
    }

    /// Sets how the consumers work.
    pub fn consumers(mut self, config: ConsumerConfig) -> Self {
        self.consumers = self.consumers.config(config);
        self
    }

    /// Wraps every call of every handler; the first added is the outermost.
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.consumers = self.consumers.middleware(middleware);
        self
    }

    /// Sets how many members of `group` run here on each of its topics, instead of
    /// [`ConsumerConfig::concurrency`].
    pub fn concurrency(mut self, group: impl Into<String>, members: usize) -> Self {
        self.consumers = self.consumers.concurrency(group, members);
        self
    }

    /// Checks that everything fits together. Connects to nothing.
    ///
    /// # Errors
    /// [`BuildError`] names what does not fit.
    pub fn build(self) -> Result<EventRuntime<S>, BuildError> {
        let consumers = self.consumers.build()?;
        let bus = consumers.bus();
        let relay = self.relay.map(|config| Relay::new(self.db, consumers.transport(), config));
        Ok(EventRuntime { relay, consumers, bus })
    }

    /// Builds the runtime and runs it until `signal` completes, such as `tokio::signal::ctrl_c()`.
    ///
    /// # Errors
    /// What does not fit together, or the first failure that waiting cannot mend.
    pub async fn run_until<F: Future>(self, signal: F) -> Result<(), RuntimeError> {
        let runtime = self.build()?;
        let token = CancellationToken::new();
        let run = runtime.run(token.clone());
        tokio::pin!(run);
        tokio::select! {
            result = &mut run => result,
            _ = signal => {
                token.cancel();
                run.await
            }
        }
    }
}

impl<S> std::fmt::Debug for EventRuntimeBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventRuntimeBuilder").finish_non_exhaustive()
    }
}

/// Why a runtime could not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// What was declared does not fit together.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The relay stopped.
    #[error("the relay stopped: {0}")]
    Relay(#[from] RelayError),
    /// A consumer stopped.
    #[error("the consumers stopped: {0}")]
    Consumer(#[from] ConsumerError),
}

impl RuntimeError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Build(error) => error.code(),
            Self::Relay(error) => error.code(),
            Self::Consumer(error) => error.code(),
        }
    }
}
