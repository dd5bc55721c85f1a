//! From handlers to consumers: grouped, checked, ready to run.

use std::{collections::HashMap, sync::Arc};

use sea_orm::DatabaseConnection;

use super::{
    BuildError, ConsumerConfig, ConsumerRuntime, breaker::Breaker, call::Surroundings,
    coverage::Coverage, middleware::Middleware, processor::Processor, transaction::Writer,
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
    transport: Option<Arc<dyn EventTransport>>,
    state: Arc<S>,
    handlers: Vec<Arc<dyn ErasedHandler<S>>>,
    middleware: Vec<Arc<dyn Middleware>>,
    concurrency: HashMap<String, usize>,
    config: ConsumerConfig,
    coverage: Coverage,
}

impl ConsumerRuntimeBuilder<()> {
    pub(crate) fn new(db: DatabaseConnection, transport: Option<Arc<dyn EventTransport>>) -> Self {
        Self {
            db,
            transport,
            state: Arc::new(()),
            handlers: Vec::new(),
            middleware: Vec::new(),
            concurrency: HashMap::new(),
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
            middleware: self.middleware,
            concurrency: self.concurrency,
            config: self.config,
            coverage: self.coverage,
        }
    }
}

impl<S: Send + Sync + 'static> ConsumerRuntimeBuilder<S> {
    #[cfg(feature = "testing")]
    pub(crate) fn from_parts(
        db: DatabaseConnection,
        state: Arc<S>,
        handlers: Vec<Arc<dyn ErasedHandler<S>>>,
    ) -> Self {
        Self {
            db,
            transport: None,
            state,
            handlers,
            middleware: Vec::new(),
            concurrency: HashMap::new(),
            config: ConsumerConfig::default(),
            coverage: Coverage::default(),
        }
    }

    /// Sets the transport.
    pub(crate) fn transport(mut self, transport: Arc<dyn EventTransport>) -> Self {
        self.transport = Some(transport);
        self
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

    /// Wraps every call of every handler; the first added is the outermost.
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.middleware.push(Arc::new(middleware));
        self
    }

    /// Sets how many members of `group` run here on each of its topics, instead of
    /// [`ConsumerConfig::concurrency`].
    pub fn concurrency(mut self, group: impl Into<String>, members: usize) -> Self {
        self.concurrency.insert(group.into(), members);
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
        let transport = self.transport.ok_or(BuildError::NoTransport)?;
        check_names(&self.handlers)?;
        let specs: Vec<_> = self.handlers.iter().map(|handler| handler.spec()).collect();
        let catalog = self.coverage.catalog(&specs)?;
        self.coverage.check(&specs, &catalog)?;
        let topics = topics(&specs, &catalog);
        let bus = TransactionalEventBus::new()
            .with_codec(self.config.codec)
            .with_clock(self.config.clock.clone());
        let writer = Arc::new(Writer::new(self.db, self.config.faults.clone()));
        let surroundings = Surroundings {
            middleware: self.middleware.into(),
            timeout: self.config.handler_timeout,
        };
        let mut breakers: HashMap<&'static str, Arc<Breaker>> = HashMap::new();
        let processors = by_group_and_topic(self.handlers)
            .into_iter()
            .map(|(group, topic, handlers)| {
                let breaker = breakers
                    .entry(group)
                    .or_insert_with(|| Arc::new(Breaker::new(group, &self.config)));
                Arc::new(Processor {
                    writer: Arc::clone(&writer),
                    bus: bus.clone(),
                    state: Arc::clone(&self.state),
                    group,
                    topic,
                    handlers,
                    surroundings: surroundings.clone(),
                    breaker: Arc::clone(breaker),
                    config: self.config.clone(),
                    past_inbox: false,
                })
            })
            .collect();
        Ok(ConsumerRuntime {
            processors,
            topics,
            writer,
            bus,
            transport,
            config: self.config,
            concurrency: self.concurrency,
        })
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
