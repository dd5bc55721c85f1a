//! One message at one handler, until there is a result: handled, held or dead.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use sea_orm::DbErr;
use tokio_util::sync::CancellationToken;

use super::{
    ConsumerError,
    deliver::attempted,
    halt::{Failed, Halt},
    message::Message,
    processor::Processor,
    transaction::{News, Turn},
    verdict::{Verdict, judge},
};
use crate::{
    backoff,
    handler::{ErasedHandler, Failure, HandlerSpec, OnDeadLetter, RetryPolicy},
    held::{self, Holder, Reason, TenantKey},
    inbox::{self, Claimed, Outcome},
    sql,
};

/// How often two transactions may be in each other's way before that counts as a failed attempt.
pub(super) const MAX_CONFLICTS: u32 = 20;

/// Keys that are blocked at handlers without an inbox, as far as one batch has seen.
#[derive(Default)]
pub(super) struct Blocked(HashMap<&'static str, HashSet<TenantKey>>);

impl Blocked {
    /// An event of this key was held: those after it wait.
    fn note(&mut self, handler: &'static str, key: TenantKey) {
        if let Some(keys) = self.0.get_mut(handler) {
            keys.insert(key);
        }
    }
}

/// What goes along with a batch from its first message to its last.
pub(super) struct Course<'b> {
    batch: &'b [Message],
    blocked: Blocked,
    /// For the first transaction, if the batch came with it.
    pub(super) turn: Option<Turn>,
}

impl<'b> Course<'b> {
    pub(super) fn new(batch: &'b [Message], turn: Option<Turn>) -> Self {
        Self { batch, blocked: Blocked::default(), turn }
    }
}

impl<S: Send + Sync + 'static> Processor<S> {
    /// Waits until the group may try something. A turn is given up if that takes time.
    pub(super) async fn ready(
        &self,
        turn: &mut Option<Turn>,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        if self.breaker.is_open() {
            *turn = None;
        }
        self.breaker.ready(stop).await
    }

    /// One message at one handler, tried until there is a result or a stop.
    pub(super) async fn one(
        &self,
        message: &Message,
        handler: &dyn ErasedHandler<S>,
        course: &mut Course<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        let spec = handler.spec();
        let retry = spec.options.retry;
        if !spec.inbox && self.is_blocked(message, &spec, course, stop).await? {
            let reason = Reason::Behind { attempts_left: retry.attempts };
            return self.hold(message, Some(&spec), &reason, stop).await;
        }
        let (mut attempts, mut conflicts, mut first_failed_at) = (0, 0, None);
        loop {
            self.ready(&mut course.turn, stop).await?;
            let turn = course.turn.take();
            let failure = match self.attempt(message, handler, attempts + 1, turn).await {
                Ok(()) => {
                    self.breaker.succeeded();
                    return Ok(());
                }
                Err(failed) if failed.is_conflict() && conflicts < MAX_CONFLICTS => {
                    conflicts += 1;
                    let pause = backoff::pause(
                        Duration::from_millis(1),
                        Duration::from_millis(50),
                        conflicts,
                    );
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Err(Failed::Database(error)) => {
                    self.database_failed(error)?;
                    continue;
                }
                Err(Failed::Handler(failure)) => failure,
            };
            if self.breaker.suspects(message.id(), &failure) {
                continue;
            }
            attempts += 1;
            let now = self.config.clock.now();
            let first_failed_at = *first_failed_at.get_or_insert(now);
            let left = retry.attempts.max(1).saturating_sub(attempts - 1);
            let verdict = judge(&self.config, &retry, &failure, left);
            if let Verdict::Retry { pause, .. } = verdict
                && since(first_failed_at, now) + pause <= self.config.retry_in_place
            {
                tracing::warn!(
                    group = self.group, handler = spec.name, attempts, code = failure.code, error = %failure.error,
                    "a handler failed and is called again"
                );
                stop.run_until_cancelled(self.config.clock.sleep(pause)).await;
                continue;
            }
            let tried = Tried { attempts, first_failed_at };
            self.settle(message, Some(&spec), &failure, verdict, tried, stop).await?;
            if let Some(key) = message.meta().and_then(held::tenant_key) {
                course.blocked.note(spec.name, key);
            }
            return Ok(());
        }
    }

    /// A message that no handler can be called with.
    pub(super) async fn refuse(
        &self,
        message: &Message,
        failure: &Failure,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        let verdict = judge(&self.config, &RetryPolicy::new(), failure, 1);
        let tried = Tried { attempts: 0, first_failed_at: self.config.clock.now() };
        self.settle(message, None, failure, verdict, tried, stop).await
    }

    async fn attempt(
        &self,
        message: &Message,
        handler: &dyn ErasedHandler<S>,
        attempt: u32,
        turn: Option<Turn>,
    ) -> Result<(), Failed> {
        let news = News::default();
        if handler.spec().inbox {
            let txn = self.writer.begin_claim(turn).await?;
            let handled = async {
                let spec = handler.spec();
                let waiting =
                    self.deliver(&txn, handler, &[message], attempt, false, &news).await?;
                self.still_open(&txn, &news).await?;
                self.hold_behind(&txn, &spec, &waiting, &news).await
            };
            let handled = handled.await;
            return self.writer.end(txn, handled, &news).await;
        }
        let Ok(delivered) = &message.content else { return Ok(()) };
        self.call(None, handler, &[&*attempted(delivered, attempt)], &news).await
    }

    /// Whether the key of a message is blocked at a handler that has no transaction to ask in.
    async fn is_blocked(
        &self,
        message: &Message,
        spec: &HandlerSpec,
        Course { batch, blocked, .. }: &mut Course<'_>,
        stop: &CancellationToken,
    ) -> Result<bool, Halt> {
        if !blocked.0.contains_key(spec.name) {
            let keys =
                || batch.iter().filter_map(|message| held::tenant_key(message.meta()?)).collect();
            let found = loop {
                self.breaker.ready(stop).await?;
                match held::blocked_keys(&self.writer.db, self.holder(spec), keys).await {
                    Ok(found) => break found,
                    Err(error) => self.database_failed(error)?,
                }
            };
            blocked.0.insert(spec.name, found);
        }
        // Nothing is blocked most of the time, and then no key is looked at.
        let Some(keys) = blocked.0.get(spec.name).filter(|keys| !keys.is_empty()) else {
            return Ok(false);
        };
        let key = message.meta().and_then(held::tenant_key);
        Ok(key.is_some_and(|key| keys.contains(&key)))
    }

    /// Carries out a verdict.
    async fn settle(
        &self,
        message: &Message,
        spec: Option<&HandlerSpec>,
        failure: &Failure,
        verdict: Verdict,
        Tried { attempts, first_failed_at }: Tried,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        // Held, it would be lost: the inbox says that it is handled.
        if self.past_inbox && verdict != Verdict::Skip {
            return Err(Halt::Failed(self.unreadable_error(message, failure)));
        }
        let due = |pause| self.config.clock.now() + pause;
        let reason = match verdict {
            Verdict::Retry { pause, attempts_left } => Reason::Retry {
                failure,
                attempts,
                attempts_left,
                first_failed_at,
                due_at: due(pause),
            },
            Verdict::Hold { pause } => {
                let attempts_left = spec.map_or(1, |spec| spec.options.retry.attempts);
                Reason::Retry {
                    failure,
                    attempts,
                    attempts_left,
                    first_failed_at,
                    due_at: due(pause),
                }
            }
            Verdict::Dead => Reason::Dead {
                failure,
                attempts,
                first_failed_at,
                parks_key: spec
                    .is_some_and(|spec| spec.options.on_dead_letter == OnDeadLetter::Park),
            },
            Verdict::Skip => Reason::Skipped { failure, attempts, first_failed_at },
            Verdict::Fail => return Err(Halt::Failed(self.unreadable_error(message, failure))),
        };
        self.hold(message, spec, &reason, stop).await?;
        self.tell(message, spec.map_or("", |spec| spec.name), failure, verdict);
        Ok(())
    }

    fn tell(&self, message: &Message, handler: &str, failure: &Failure, verdict: Verdict) {
        let (group, topic) = (self.group, &self.topic);
        let (partition, offset) = (message.raw.partition, message.raw.offset);
        let (code, error) = (failure.code, &failure.error);
        match verdict {
            Verdict::Dead => {
                tracing::error!(group, handler, code, %error, %topic, partition, offset, "an event became a dead letter");
            }
            Verdict::Skip => {
                tracing::warn!(group, handler, code, %error, %topic, partition, offset, "an event was passed over");
            }
            _ => {
                tracing::warn!(group, handler, code, %error, %topic, partition, offset, "an event is held");
            }
        }
    }

    pub(super) fn unreadable_error(&self, message: &Message, failure: &Failure) -> ConsumerError {
        ConsumerError::Unreadable {
            code: failure.code,
            group: self.group,
            topic: self.topic.clone(),
            partition: message.raw.partition,
            offset: message.raw.offset,
            error: failure.error.clone(),
        }
    }

    /// Holds a message, waiting through the absence of the database.
    async fn hold(
        &self,
        message: &Message,
        spec: Option<&HandlerSpec>,
        reason: &Reason<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        loop {
            self.breaker.ready(stop).await?;
            match self.try_hold(message, spec, reason).await {
                Ok(()) => return Ok(()),
                Err(error) => self.database_failed(error)?,
            }
        }
    }

    async fn try_hold(
        &self,
        message: &Message,
        spec: Option<&HandlerSpec>,
        reason: &Reason<'_>,
    ) -> Result<(), DbErr> {
        let txn = self.writer.begin().await?;
        let now = self.config.clock.now();
        let held = async {
            let outcome = match reason {
                Reason::Skipped { .. } => Outcome::Skipped,
                _ => Outcome::Held,
            };
            let (group, handler, id) =
                (self.group, spec.map_or("", |spec| spec.name), message.id());
            let claimed = inbox::claim(&txn, group, handler, &[id], outcome, now).await?;
            if claimed != Claimed::All {
                // Another member of the group had the event meanwhile and has recorded its result; or the handler is
                // called with everything anew, and this was held and done with before.
                let has_inbox = spec.is_none_or(|spec| spec.inbox);
                if has_inbox || !inbox::reopen(&txn, group, handler, id, outcome, now).await? {
                    return Ok(());
                }
            }
            let holder = Holder { group, handler, topic: &self.topic };
            held::hold(&txn, holder, &message.raw, message.meta(), reason, now).await
        }
        .await;
        self.writer.end_own(txn, held).await
    }

    /// The database failed: the group pauses, unless waiting cannot help.
    pub(super) fn database_failed(&self, error: DbErr) -> Result<(), Halt> {
        if sql::is_missing_table(&error) {
            return Err(Halt::Failed(error.into()));
        }
        self.breaker.failed(&error);
        Ok(())
    }
}

/// What an event has been through.
struct Tried {
    attempts: u32,
    first_failed_at: DateTime<Utc>,
}

fn since(first: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (now - first).to_std().unwrap_or_default()
}
