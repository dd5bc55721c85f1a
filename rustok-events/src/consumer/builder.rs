//! From handlers to consumers: grouped, checked, ready to run.

use std::sync::Arc;

use sea_orm::{DatabaseConnection, DbBackend};
use tokio::sync::Semaphore;

use super::{
    BuildError, ConsumerConfig, ConsumerRuntime, coverage::Coverage, processor::Processor,
};
use crate::{
    Catalog, TransactionalEventBus,
    catalog::EventSet,
    handler::{Erased, ErasedHandler, EventHandler, HandlerSpec},
    transport::{EventTransport, TopicName, TopicSpec},
};

/// Collects state and handlers. Made by [`ConsumerRuntime::builder`].
#[must_use = "nothing is handled until the runtime is built and run"]
pub struct ConsumerRuntimeBuilder<S> {
    db: DatabaseConnection,
    transport: Arc<dyn EventTransport>,
    state: Arc<S>,
    handlers: Vec<Arc<dyn ErasedHandler<S>>>,
    config: ConsumerConfig,
    coverage: Coverage,
}

impl ConsumerRuntimeBuilder<()> {
    pub(crate) fn new(db: DatabaseConnection, transport: Arc<dyn EventTransport>) -> Self {
        Self {
            db,
            transport,
            state: Arc::new(()),
            handlers: Vec::new(),
            config: ConsumerConfig::default(),
            coverage: Coverage::default(),
        }
    }

    /// Gives the handlers their state. Comes before [`handler`](Self::handler).
    pub fn state<S: Send + Sync + 'static>(self, state: S) -> ConsumerRuntimeBuilder<S> {
        ConsumerRuntimeBuilder {
            db: self.db,
            transport: self.transport,
            state: Arc::new(state),
            handlers: Vec::new(),
            config: self.config,
            coverage: self.coverage,
        }
    }
}

impl<S: Send + Sync + 'static> ConsumerRuntimeBuilder<S> {
    pub(crate) fn from_parts(
        db: DatabaseConnection,
        transport: Arc<dyn EventTransport>,
        state: Arc<S>,
        handlers: Vec<Arc<dyn ErasedHandler<S>>>,
        config: ConsumerConfig,
        coverage: Coverage,
    ) -> Self {
        Self { db, transport, state, handlers, config, coverage }
    }

    /// Adds a handler.
    pub fn handler<H: EventHandler<S>>(mut self, handler: H) -> Self {
        self.handlers.push(Arc::new(Erased(handler)));
        self
    }

    /// Makes events known that no handler here need take: a group that handles several events of a topic then has
    /// to handle or to [`ignore`](Self::ignore) each known event of it. They are also checked as a
    /// [`Catalog`](crate::Catalog) is.
    pub fn known_events<E: EventSet>(mut self) -> Self {
        self.coverage.known::<E>();
        self
    }

    /// Leaves events out of a group on purpose, by their names on the wire.
    pub fn ignore(mut self, group: &'static str, events: &[&'static str]) -> Self {
        self.coverage.ignore(group, events);
        self
    }

    /// Sets how the consumers work.
    pub fn config(mut self, config: ConsumerConfig) -> Self {
        self.config = config;
        self
    }

    /// Checks that the handlers fit together.
    ///
    /// # Errors
    /// [`BuildError`] names what does not.
    pub fn build(self) -> Result<ConsumerRuntime<S>, BuildError> {
        check_names(&self.handlers)?;
        let specs: Vec<_> = self.handlers.iter().map(|handler| handler.spec()).collect();
        let catalog = self.coverage.catalog(&specs)?;
        self.coverage.check(&specs, &catalog)?;
        let topics = topics(&specs, &catalog);
        let bus = TransactionalEventBus::new()
            .with_codec(self.config.codec)
            .with_clock(self.config.clock.clone());
        // SQLite has one writer: queueing here is fair, queueing in its busy handler is not.
        let writers = match self.db.get_database_backend() {
            DbBackend::Sqlite => 1,
            _ => Semaphore::MAX_PERMITS,
        };
        let writers = Arc::new(Semaphore::new(writers));
        let processors = by_group_and_topic(self.handlers)
            .into_iter()
            .map(|(group, topic, handlers)| {
                Arc::new(Processor {
                    db: self.db.clone(),
                    bus: bus.clone(),
                    state: Arc::clone(&self.state),
                    group,
                    topic,
                    handlers,
                    writers: Arc::clone(&writers),
                    config: self.config.clone(),
                })
            })
            .collect();
        Ok(ConsumerRuntime { processors, topics, transport: self.transport, config: self.config })
    }
}

impl<S> std::fmt::Debug for ConsumerRuntimeBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerRuntimeBuilder").finish_non_exhaustive()
    }
}

fn check_names<S>(handlers: &[Arc<dyn ErasedHandler<S>>]) -> Result<(), BuildError> {
    let mut seen = std::collections::HashSet::new();
    for spec in handlers.iter().map(|handler| handler.spec()) {
        if !seen.insert((spec.group, spec.name)) {
            return Err(BuildError::DuplicateHandler { group: spec.group, handler: spec.name });
        }
    }
    Ok(())
}

/// The topics that handlers read, with the partition counts that any known event declares for them.
fn topics(handlers: &[HandlerSpec], catalog: &Catalog) -> Vec<TopicSpec> {
    catalog
        .topics()
        .into_iter()
        .filter(|(stream, topic, _)| {
            handlers.iter().any(|handler| (handler.stream, handler.topic) == (*stream, *topic))
        })
        .map(|(stream, topic, partitions)| TopicSpec {
            name: TopicName::new(stream, topic),
            partitions,
        })
        .collect()
}

type Grouped<S> = Vec<(&'static str, TopicName, Vec<Arc<dyn ErasedHandler<S>>>)>;

/// One consumer per group and topic, so that an offset speaks for all handlers behind it.
fn by_group_and_topic<S>(handlers: Vec<Arc<dyn ErasedHandler<S>>>) -> Grouped<S> {
    let mut grouped: Grouped<S> = Vec::new();
    for handler in handlers {
        let spec = handler.spec();
        let topic = TopicName::new(spec.stream, spec.topic);
        match grouped.iter_mut().find(|(group, name, _)| *group == spec.group && *name == topic) {
            Some((_, _, handlers)) => handlers.push(handler),
            None => grouped.push((spec.group, topic, vec![handler])),
        }
    }
    grouped
}
