//! Inside the transaction: claim in the inbox, hold what must wait, call the handler with the rest.

use std::{borrow::Cow, collections::HashSet, sync::atomic::Ordering};

use sea_orm::{DatabaseTransaction, DbErr};
use uuid::Uuid;

use super::{
    halt::Failed,
    message::Message,
    processor::Processor,
    transaction::{News, Stumble},
};
use crate::{
    EventId,
    handler::{Delivered, ErasedHandler, Failure, HandlerSpec, Invocation},
    held::{self, Reason, TenantKey},
    inbox::{self, Claimed, Outcome},
    sql, trouble,
};

impl<S: Send + Sync + 'static> Processor<S> {
    /// Claims messages for a handler with an inbox and calls it with those that are new to it. Returns those of a key
    /// that waits, which are to be [held](Self::hold_behind) instead. `mixed` is for messages of which some were claimed
    /// before.
    pub(super) async fn deliver<'m>(
        &self,
        txn: &DatabaseTransaction,
        handler: &dyn ErasedHandler<S>,
        messages: &[&'m Message],
        attempt: u32,
        mixed: bool,
        news: &News,
    ) -> Result<Vec<&'m Message>, Failed> {
        let spec = handler.spec();
        let now = self.config.clock.now();
        let delivered: Vec<(&'m Message, &Delivered)> = messages
            .iter()
            .filter_map(|message| Some((*message, message.content.as_ref().ok()?)))
            .collect();
        let ids: Vec<EventId> = delivered.iter().map(|(_, delivered)| delivered.meta.id).collect();
        let (group, outcome) = (self.group, Outcome::Handled);
        let mut may_block = true;
        let mut fresh = None;
        let mut again: HashSet<Uuid> = HashSet::new();
        if mixed || self.past_inbox {
            let claimed = inbox::claim_each(txn, group, spec.name, &ids, outcome, now).await?;
            if self.past_inbox {
                // Those that wait for a retry get their result by it.
                let held = inbox::held(txn, group, spec.name, &ids).await?;
                again.extend(ids.iter().map(|id| id.as_uuid()));
                again.retain(|id| !claimed.contains(id) && !held.contains(id));
            }
            fresh = Some(claimed);
        } else {
            let (claimed, blocks) =
                inbox::claim_and_look(txn, self.holder(&spec), &ids, now).await?;
            match claimed {
                Claimed::All => may_block = blocks,
                Claimed::Nothing => return Ok(Vec::new()),
                Claimed::Mixed => {
                    news.stumbled(Stumble::Mixed);
                    return Err(Failed::Database(DbErr::Custom(
                        "some events of the batch were claimed before".to_owned(),
                    )));
                }
            }
        }
        let keys = || {
            let keys =
                delivered.iter().filter_map(|(_, delivered)| held::tenant_key(&delivered.meta));
            keys.collect::<HashSet<TenantKey>>()
        };
        let blocked = if may_block {
            held::blocked_keys(txn, self.holder(&spec), keys).await?
        } else {
            HashSet::new()
        };
        let mut waiting = Vec::new();
        let mut calls: Vec<(u64, Cow<'_, Delivered>)> = Vec::with_capacity(delivered.len());
        for (message, delivered) in delivered {
            if again.remove(&delivered.meta.id.as_uuid()) {
                calls.push((message.raw.offset, attempted(delivered, attempt)));
                continue;
            }
            // The first of two deliveries of one event is the one that counts.
            if fresh.as_mut().is_some_and(|fresh| !fresh.remove(&delivered.meta.id.as_uuid())) {
                continue;
            }
            let key = if blocked.is_empty() { None } else { held::tenant_key(&delivered.meta) };
            if key.is_some_and(|key| blocked.contains(&key)) {
                waiting.push(message);
            } else {
                calls.push((message.raw.offset, attempted(delivered, attempt)));
            }
        }
        if spec.batch {
            let deliveries: Vec<&Delivered> =
                calls.iter().map(|(_, delivered)| &**delivered).collect();
            if !deliveries.is_empty() {
                self.call(Some(txn), handler, &deliveries, news).await?;
            }
            return Ok(waiting);
        }
        for (offset, delivered) in &calls {
            if let Err(failed) = self.call(Some(txn), handler, &[&**delivered], news).await {
                news.stumbled(Stumble::At(*offset));
                return Err(failed);
            }
        }
        Ok(waiting)
    }

    /// Fails if the database has given `txn` up, and with it the claims: an error that a handler ignored. PostgreSQL
    /// rolls such a transaction back at its commit and says nothing; MySQL and MariaDB have rolled it back by then.
    pub(super) async fn still_open(
        &self,
        txn: &DatabaseTransaction,
        news: &News,
    ) -> Result<(), Failed> {
        let Some((handler, event)) = news.called.get() else { return Ok(()) };
        let given_up = match inbox::is_handled(txn, self.group, handler, *event).await {
            Ok(handled) => !handled,
            Err(error) if trouble::code(&error).is_some_and(|code| code == sql::ABORTED) => true,
            Err(error) => return Err(error.into()),
        };
        if !given_up {
            return Ok(());
        }
        Err(Failed::Handler(Failure::retryable(
            "ignored_error",
            "a statement in `ctx.tx()` failed, the handler ignored the error, and the database gave the transaction up: \
             return the error, or run a statement that may fail in a savepoint, begun on `ctx.tx()`",
        )))
    }

    /// Holds claimed messages behind others of their keys: the last that `txn` does.
    pub(super) async fn hold_behind(
        &self,
        txn: &DatabaseTransaction,
        spec: &HandlerSpec,
        messages: &[&Message],
        news: &News,
    ) -> Result<(), Failed> {
        let reason = Reason::Behind { attempts_left: spec.options.retry.attempts };
        let now = self.config.clock.now();
        for message in messages {
            // First what another delivery of the event may have locked, then what its key waits for.
            inbox::set(txn, self.group, spec.name, message.id(), Outcome::Held).await?;
            held::hold(txn, self.holder(spec), &message.raw, message.meta(), &reason, now).await?;
            news.held.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) async fn call(
        &self,
        txn: Option<&DatabaseTransaction>,
        handler: &dyn ErasedHandler<S>,
        deliveries: &[&Delivered],
        news: &News,
    ) -> Result<(), Failed> {
        if txn.is_some() {
            news.called.get_or_init(|| (handler.spec().name, deliveries[0].meta.id));
        }
        let invocation =
            Invocation { txn, bus: &self.bus, state: &*self.state, published: &news.published };
        self.surroundings.call(handler, invocation, deliveries).await.map_err(Failed::Handler)
    }
}

/// A delivery as the `attempt`-th call of a handler sees it.
pub(super) fn attempted(delivered: &Delivered, attempt: u32) -> Cow<'_, Delivered> {
    if delivered.meta.attempt == attempt {
        return Cow::Borrowed(delivered);
    }
    let mut delivered = delivered.clone();
    delivered.meta.attempt = attempt;
    Cow::Owned(delivered)
}
