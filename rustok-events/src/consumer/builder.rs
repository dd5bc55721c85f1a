//! From handlers to consumers: grouped, checked, ready to run.

use std::{collections::HashMap, sync::Arc};

use sea_orm::DatabaseConnection;

use super::{
    BuildError, ConsumerConfig, ConsumerRuntime, breaker::Breaker, call::Surroundings,
    middleware::Middleware, processor::Processor, transaction::Writer,
};
use crate::{
    EventDescriptor, TransactionalEventBus,
    handler::{Erased, ErasedHandler, EventHandler},
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
        let topics = topics(self.handlers.iter().flat_map(|handler| handler.spec().descriptors))?;
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

/// The topics that events lie in. Two events of one topic must agree on its partition count.
fn topics(
    descriptors: impl Iterator<Item = &'static EventDescriptor>,
) -> Result<Vec<TopicSpec>, BuildError> {
    let mut topics: Vec<(TopicSpec, &'static EventDescriptor)> = Vec::new();
    for descriptor in descriptors {
        let name = TopicName::new(descriptor.stream, descriptor.topic);
        match topics.iter_mut().find(|(spec, _)| spec.name == name) {
            None => {
                let partitions = descriptor.partitions;
                topics.push((TopicSpec { name, partitions }, descriptor));
            }
            Some((spec, first)) => match (spec.partitions, descriptor.partitions) {
                (Some(first_count), Some(second_count)) if first_count != second_count => {
                    return Err(BuildError::PartitionMismatch {
                        topic: name,
                        first: first.declared_by,
                        first_count,
                        second: descriptor.declared_by,
                        second_count,
                    });
                }
                (None, Some(_)) => {
                    spec.partitions = descriptor.partitions;
                    *first = descriptor;
                }
                _ => {}
            },
        }
    }
    Ok(topics.into_iter().map(|(spec, _)| spec).collect())
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
