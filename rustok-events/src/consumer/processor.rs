//! Handles the messages of one partition: in one transaction if all goes well, one by one if not.

use std::sync::Arc;

use sea_orm::DatabaseTransaction;
use tokio_util::sync::CancellationToken;

use super::{
    ConsumerConfig, ConsumerError,
    breaker::Breaker,
    call::Surroundings,
    halt::{Failed, Halt},
    message::Message,
    single::Blocked,
    transaction::{News, Writer},
};
use crate::{
    TransactionalEventBus,
    handler::{ErasedHandler, Failure, FailureClass, HandlerSpec},
    held::{self, Holder},
    transport::{IncomingMessage, TopicName},
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

    /// Handles messages of one partition in order. Returns the offset up to which every message has its result
    /// (handled, held or dead); less than all of them once `stop` is cancelled.
    pub(super) async fn process(
        &self,
        messages: Vec<IncomingMessage>,
        stop: &CancellationToken,
    ) -> (Option<u64>, Result<(), ConsumerError>) {
        let messages: Vec<Message> = messages.into_iter().map(Message::read).collect();
        let mut done = None;
        match self.each(&messages, &mut done, stop).await {
            Ok(()) | Err(Halt::Stopped) => (done, Ok(())),
            Err(Halt::Failed(error)) => (done, Err(error)),
        }
    }

    async fn each(
        &self,
        messages: &[Message],
        done: &mut Option<u64>,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        self.breaker.ready(stop).await?;
        let inbox_done = self.all_at_once(messages).await;
        let mut blocked = Blocked::default();
        for message in messages {
            let mut accepted = false;
            for handler in &self.handlers {
                let spec = handler.spec();
                if !message.name().is_some_and(|name| spec.accepts(name)) {
                    continue;
                }
                accepted = true;
                if !(inbox_done && spec.inbox) {
                    self.one(message, messages, &**handler, &mut blocked, stop).await?;
                }
            }
            if !accepted && let Some(failure) = self.unreadable(message) {
                self.refuse(message, &failure, stop).await?;
            }
            *done = Some(message.raw.offset);
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

    /// Every message and every handler with an inbox in one transaction: whether it worked.
    async fn all_at_once(&self, messages: &[Message]) -> bool {
        let inbox = self.handlers.iter().any(|handler| handler.spec().inbox);
        if !inbox || messages.len() < 2 || messages.iter().any(|message| message.content.is_err()) {
            return false;
        }
        match self.try_all_at_once(messages).await {
            Ok(()) => {
                self.breaker.succeeded();
                true
            }
            // Not an attempt: each event is tried again on its own and judged by that.
            Err(Failed::Handler(failure)) => {
                tracing::debug!(group = self.group, code = failure.code, error = %failure.error, "a batch falls back to one by one");
                false
            }
            Err(Failed::Database(error)) => {
                tracing::debug!(group = self.group, %error, "a batch falls back to one by one");
                false
            }
        }
    }

    async fn try_all_at_once(&self, messages: &[Message]) -> Result<(), Failed> {
        let txn = self.writer.begin().await?;
        let news = News::default();
        let handled = self.all_in(&txn, messages, &news).await;
        self.writer.end(txn, handled, &news).await?;
        self.promote(news).await;
        Ok(())
    }

    async fn all_in(
        &self,
        txn: &DatabaseTransaction,
        messages: &[Message],
        news: &News,
    ) -> Result<(), Failed> {
        for handler in &self.handlers {
            let spec = handler.spec();
            let accepted =
                |message: &&Message| message.name().is_some_and(|name| spec.accepts(name));
            let mine: Vec<&Message> = messages.iter().filter(accepted).collect();
            if spec.inbox && !mine.is_empty() {
                self.deliver(txn, &**handler, &mine, 1, news).await?;
            }
        }
        Ok(())
    }

    /// Looks after keys that events were held behind: what they waited for may have been handled in the moment
    /// between. If this does not happen, a later sweep sees to it.
    pub(super) async fn promote(&self, news: News) {
        for (handler, key) in news.into_behind() {
            let holder = Holder { group: self.group, handler, topic: &self.topic };
            let now = self.config.clock.now();
            if let Err(error) = held::promote(&self.writer.db, holder, &key, now, None).await {
                tracing::debug!(group = self.group, %error, "a key is promoted later");
            }
            held::notify();
        }
    }

    pub(super) fn holder<'a>(&'a self, spec: &HandlerSpec) -> Holder<'a> {
        Holder { group: self.group, handler: spec.name, topic: &self.topic }
    }
}
