//! A held event at the handler that failed it, and at no other.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::DbErr;
use tokio_util::sync::CancellationToken;

use super::{
    deliver::attempted,
    halt::{Failed, Halt},
    message::Message,
    processor::Processor,
    single::MAX_CONFLICTS,
    transaction::News,
    verdict::{Verdict, judge},
};
use crate::{
    EventId, backoff,
    handler::{ErasedHandler, Failure, OnDeadLetter, RetryPolicy},
    held::{self, Claim, Failing, HeldEvent, Holder},
    inbox,
};

impl<S: Send + Sync + 'static> Processor<S> {
    /// Tries a claimed event. Returns the next of its key, claimed too, if it was handled and there is one. While the
    /// group pauses it is given back: waiting here, it would keep other groups' events from being tried.
    pub(super) async fn redeliver(
        &self,
        event: &HeldEvent,
        claim: &Claim,
        stop: &CancellationToken,
    ) -> Result<Option<i64>, Halt> {
        let message = Message::read(event.message.clone());
        let targets = self.targets(event, &message);
        let policy = targets.first().map(|handler| handler.spec().options);
        let retry = policy.map_or(RetryPolicy::new(), |options| options.retry);
        let mut conflicts = 0;
        let failure = loop {
            if stop.is_cancelled() || self.breaker.is_open() {
                return self.give_all_back(claim, stop).await.map(|()| None);
            }
            match self.attempt_held(event, &message, &targets, claim).await {
                Ok(next) => {
                    self.breaker.succeeded();
                    return Ok(next);
                }
                Err(failed) if failed.is_conflict() && conflicts < MAX_CONFLICTS => {
                    conflicts += 1;
                    let (min, max) = (Duration::from_millis(1), Duration::from_millis(50));
                    tokio::time::sleep(backoff::pause(min, max, conflicts)).await;
                }
                Err(Failed::Database(error)) => self.database_failed(error)?,
                // The next round gives it back.
                Err(Failed::Handler(failure)) if self.breaker.suspects(message.id(), &failure) => {}
                Err(Failed::Handler(failure)) => break failure,
            }
        };
        // A whole round is begun by an operator's retry, and by the first turn of an event that waited.
        let left =
            if event.attempts_left == 0 { retry.attempts.max(1) } else { event.attempts_left };
        let due = |pause: Duration| self.config.clock.now() + pause;
        let failing = match judge(&self.config, &retry, &failure, left) {
            Verdict::Retry { pause, attempts_left } => {
                Failing::Retry { due_at: due(pause), attempts_left }
            }
            Verdict::Hold { pause } => Failing::Retry { due_at: due(pause), attempts_left: left },
            Verdict::Skip => Failing::Skipped,
            Verdict::Fail => return Err(Halt::Failed(self.unreadable_error(&message, &failure))),
            Verdict::Dead => Failing::Dead {
                parks_key: policy
                    .is_some_and(|options| options.on_dead_letter == OnDeadLetter::Park),
            },
        };
        self.failed_again(event, message.id(), claim, &failure, failing, stop).await?;
        Ok(None)
    }

    /// The handler that failed the event; all that it may concern if no handler was ever called with it.
    fn targets(&self, event: &HeldEvent, message: &Message) -> Vec<&dyn ErasedHandler<S>> {
        let accepts = |handler: &&dyn ErasedHandler<S>| {
            let spec = handler.spec();
            let named = event.handler.is_empty() || event.handler == spec.name;
            named && message.name().is_some_and(|name| spec.accepts(name))
        };
        self.handlers.iter().map(|handler| &**handler).filter(accepts).collect()
    }

    async fn attempt_held(
        &self,
        event: &HeldEvent,
        message: &Message,
        targets: &[&dyn ErasedHandler<S>],
        claim: &Claim,
    ) -> Result<Option<i64>, Failed> {
        let delivered =
            message.content.as_ref().map_err(|failure| Failed::Handler(failure.clone()))?;
        if targets.is_empty() {
            let error = format!(
                "no handler of group `{}` has an event named `{}`",
                self.group, delivered.meta.name
            );
            return Err(Failed::Handler(Failure {
                code: "unknown_event",
                error,
                class: crate::handler::FailureClass::UnknownEvent,
            }));
        }
        let delivered = attempted(delivered, event.attempts + 1);
        let delivered = [&*delivered];
        let news = News::default();
        for handler in targets.iter().filter(|handler| !handler.spec().inbox) {
            self.call(None, *handler, &delivered, &news).await?;
        }
        let now = self.config.clock.now();
        let txn = self.writer.begin().await?;
        let (mut next, mut lost) = (None, false);
        let handled = async {
            let id = message.id();
            let mine = inbox::claim_held(&txn, self.group, &event.handler, id, now).await?;
            for handler in targets.iter().filter(|handler| handler.spec().inbox) {
                let name = handler.spec().name;
                let mine = if event.handler == name {
                    mine
                } else {
                    inbox::claim_held(&txn, self.group, name, id, now).await?
                };
                if mine {
                    self.call(Some(&txn), *handler, &delivered, &news).await?;
                    self.still_open(&txn, &news).await?;
                }
            }
            let holder = self.held_by(&event.handler);
            let Some(promoted) = held::complete(&txn, holder, event, claim, now).await? else {
                lost = true;
                return Err(Failed::Database(DbErr::Custom("the lease was lost".to_owned())));
            };
            next = promoted;
            Ok(())
        }
        .await;
        match self.writer.end(txn, handled, &news).await {
            // Another runtime took the lease over, and what it makes of the event counts; or a commit of before went
            // through though its answer was lost, and has leased the next of the key.
            Err(_) if lost => {
                held::release_all(&self.writer.db, claim).await?;
                held::notify();
                Ok(None)
            }
            ended => ended.map(|()| next),
        }
    }

    async fn failed_again(
        &self,
        event: &HeldEvent,
        id: EventId,
        claim: &Claim,
        failure: &Failure,
        failing: Failing,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        loop {
            self.breaker.ready(stop).await?;
            let recorded = async {
                let txn = self.writer.begin().await?;
                let holder = self.held_by(&event.handler);
                let now = self.config.clock.now();
                let failed = async {
                    let failed =
                        held::fail(&txn, holder, event, claim, failure, failing, now).await?;
                    if failed && matches!(failing, Failing::Skipped) {
                        inbox::skip(&txn, self.group, &event.handler, id).await?;
                    }
                    Ok(())
                };
                let failed = failed.await;
                self.writer.end_own(txn, failed).await
            };
            match recorded.await {
                Ok(()) => break,
                Err(error) => self.database_failed(error)?,
            }
        }
        let (group, handler, topic) = (self.group, event.handler.as_str(), &self.topic);
        let (code, error, attempts) = (failure.code, &failure.error, event.attempts + 1);
        if matches!(failing, Failing::Dead { .. }) {
            tracing::error!(group, handler, code, %error, %topic, attempts, "a held event became a dead letter");
        } else {
            tracing::warn!(group, handler, code, %error, %topic, attempts, "a held event failed again");
        }
        Ok(())
    }

    /// Gives an event back untried.
    pub(super) async fn give_back(
        &self,
        event: &HeldEvent,
        claim: &Claim,
        due_at: DateTime<Utc>,
    ) -> Result<(), Halt> {
        match held::release(&self.writer.db, event.id, claim, due_at).await {
            Ok(()) => Ok(()),
            // Its lease ends by itself.
            Err(error) => self.database_failed(error),
        }
    }

    /// Gives back whatever was leased without an answer.
    pub(super) async fn give_all_back(
        &self,
        claim: &Claim,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        while let Err(error) = held::release_all(&self.writer.db, claim).await {
            self.database_failed(error)?;
            self.breaker.ready(stop).await?;
        }
        held::notify();
        Ok(())
    }

    fn held_by<'a>(&'a self, handler: &'a str) -> Holder<'a> {
        Holder { group: self.group, handler, topic: &self.topic }
    }
}
