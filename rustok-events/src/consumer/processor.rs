//! Handles the messages of one partition: many in one transaction, and what fails alone.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    ConsumerConfig,
    breaker::Breaker,
    call::Surroundings,
    halt::Halt,
    message::Message,
    runs::Runs,
    single::Course,
    transaction::{Turn, Writer},
};
use crate::{
    TransactionalEventBus,
    handler::{ErasedHandler, Failure, FailureClass, HandlerSpec},
    held::Holder,
    transport::TopicName,
};

/// The handlers of one group on one topic, and what they work with.
pub(super) struct Processor<S> {
    pub(super) writer: Arc<Writer>,
    pub(super) bus: TransactionalEventBus,
    pub(super) state: Arc<S>,
    pub(super) group: &'static str,
    pub(super) topic: TopicName,
    pub(super) handlers: Vec<Arc<dyn ErasedHandler<S>>>,
    pub(super) surroundings: Surroundings,
    pub(super) breaker: Arc<Breaker>,
    pub(super) config: ConsumerConfig,
    /// Whether handlers are called also with what the inbox says they are done with.
    pub(super) past_inbox: bool,
}

impl<S: Send + Sync + 'static> Processor<S> {
    /// The same handlers, called also with what they are done with.
    pub(super) fn past_inbox(&self) -> Self {
        Self {
            writer: Arc::clone(&self.writer),
            bus: self.bus.clone(),
            state: Arc::clone(&self.state),
            group: self.group,
            topic: self.topic.clone(),
            handlers: self.handlers.clone(),
            surroundings: self.surroundings.clone(),
            breaker: Arc::clone(&self.breaker),
            config: self.config.clone(),
            past_inbox: true,
        }
    }

    /// Handles messages of one partition in order; `done` becomes the offset up to which every message has its result
    /// (handled, held or dead): less than all of them once `stop` is cancelled.
    pub(super) async fn each(
        &self,
        messages: &[Message],
        turn: Option<Turn>,
        done: &mut Option<u64>,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        let inbox = self.handlers.iter().any(|handler| handler.spec().inbox);
        let mut course = Course::new(messages, turn);
        let mut runs = Runs::new(messages.len());
        let mut rest = messages;
        while !rest.is_empty() {
            self.ready(&mut course.turn, stop).await?;
            let length = if inbox { runs.next(rest) } else { rest.len() };
            let (run, after) = rest.split_at(length);
            let inbox_done = inbox && length > 1;
            if inbox_done && !self.at_once(run, &mut runs, course.turn.take(), stop).await {
                continue;
            }
            self.each_message(run, inbox_done, &mut course, done, stop).await?;
            runs.went_well();
            rest = after;
        }
        Ok(())
    }

    /// Each message of a run on its own; `inbox_done` leaves the handlers with an inbox out.
    pub(super) async fn each_message(
        &self,
        run: &[Message],
        inbox_done: bool,
        course: &mut Course<'_>,
        done: &mut Option<u64>,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        for message in run {
            self.each_handler(message, inbox_done, course, stop).await?;
            *done = Some(message.raw.offset);
        }
        Ok(())
    }

    /// One message at each handler that accepts it; `inbox_done` leaves those with an inbox out.
    async fn each_handler(
        &self,
        message: &Message,
        inbox_done: bool,
        course: &mut Course<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        let mut accepted = false;
        for handler in &self.handlers {
            let spec = handler.spec();
            if !message.name().is_some_and(|name| spec.accepts(name)) {
                continue;
            }
            accepted = true;
            if !(inbox_done && spec.inbox) {
                self.one(message, &**handler, course, stop).await?;
            }
        }
        if !accepted && let Some(failure) = self.unreadable(message) {
            // Recording it takes a turn.
            course.turn = None;
            self.refuse(message, &failure, stop).await?;
        }
        Ok(())
    }

    /// Why no handler can be called with a message; `None` if that is as it should be.
    pub(super) fn unreadable(&self, message: &Message) -> Option<Failure> {
        match &message.content {
            Err(failure) => Some(failure.clone()),
            Ok(delivered) => self.config.unknown_event.map(|_| Failure {
                code: "unknown_event",
                error: format!(
                    "no handler of group `{}` has an event named `{}`",
                    self.group, delivered.meta.name
                ),
                class: FailureClass::UnknownEvent,
            }),
        }
    }

    pub(super) fn holder<'a>(&'a self, spec: &HandlerSpec) -> Holder<'a> {
        Holder { group: self.group, handler: spec.name, topic: &self.topic }
    }
}
