//! Inside the transaction: claim in the inbox, hold what must wait, call the handler with the rest.

use std::collections::HashSet;

use sea_orm::DatabaseTransaction;
use uuid::Uuid;

use super::{halt::Failed, message::Message, processor::Processor, transaction::News};
use crate::{
    EventId,
    handler::{Delivered, ErasedHandler, HandlerSpec, Invocation},
    held::{self, Reason, TenantKey},
    inbox::{self, Outcome},
};

impl<S: Send + Sync + 'static> Processor<S> {
    /// Claims messages for a handler with an inbox and calls it with those that are new to it; messages of a key
    /// that waits are held instead.
    pub(super) async fn deliver(
        &self,
        txn: &DatabaseTransaction,
        handler: &dyn ErasedHandler<S>,
        messages: &[&Message],
        attempt: u32,
        news: &News,
    ) -> Result<(), Failed> {
        let spec = handler.spec();
        let now = self.config.clock.now();
        let delivered: Vec<(&Message, &Delivered)> = messages
            .iter()
            .filter_map(|message| Some((*message, message.content.as_ref().ok()?)))
            .collect();
        let ids: Vec<EventId> = delivered.iter().map(|(_, delivered)| delivered.meta.id).collect();
        let mut fresh =
            inbox::claim(txn, self.group, spec.name, &ids, Outcome::Handled, now).await?;
        let mut again: HashSet<Uuid> = HashSet::new();
        if self.past_inbox {
            // Those that wait for a retry get their result by it.
            let held = inbox::held(txn, self.group, spec.name, &ids).await?;
            again.extend(ids.iter().map(|id| id.as_uuid()));
            again.retain(|id| !fresh.contains(id) && !held.contains(id));
        }
        if fresh.is_empty() && again.is_empty() {
            return Ok(());
        }
        let keys: HashSet<TenantKey> = delivered
            .iter()
            .filter_map(|(_, delivered)| held::tenant_key(&delivered.meta))
            .collect();
        let blocked = held::blocked_keys(txn, self.holder(&spec), &keys).await?;
        let mut calls: Vec<Delivered> = Vec::with_capacity(fresh.len());
        for (message, delivered) in delivered {
            if again.remove(&delivered.meta.id.as_uuid()) {
                calls.push(attempted(delivered, attempt));
                continue;
            }
            // The first of two deliveries of one event is the one that counts.
            if !fresh.remove(&delivered.meta.id.as_uuid()) {
                continue;
            }
            match held::tenant_key(&delivered.meta).filter(|key| blocked.contains(key)) {
                Some(key) => self.hold_behind(txn, &spec, message, key, news).await?,
                None => calls.push(attempted(delivered, attempt)),
            }
        }
        let at_once = if spec.batch { calls.len().max(1) } else { 1 };
        for deliveries in calls.chunks(at_once) {
            self.call(Some(txn), handler, deliveries, news).await?;
        }
        Ok(())
    }

    /// Holds a claimed message behind others of its key.
    async fn hold_behind(
        &self,
        txn: &DatabaseTransaction,
        spec: &HandlerSpec,
        message: &Message,
        key: TenantKey,
        news: &News,
    ) -> Result<(), Failed> {
        let reason = Reason::Behind { attempts_left: spec.options.retry.attempts };
        let now = self.config.clock.now();
        held::hold(txn, self.holder(spec), &message.raw, message.meta(), &reason, now).await?;
        inbox::set(txn, self.group, spec.name, message.id(), Outcome::Held).await?;
        news.held_behind(spec.name, key);
        Ok(())
    }

    pub(super) async fn call(
        &self,
        txn: Option<&DatabaseTransaction>,
        handler: &dyn ErasedHandler<S>,
        deliveries: &[Delivered],
        news: &News,
    ) -> Result<(), Failed> {
        let invocation =
            Invocation { txn, bus: &self.bus, state: &*self.state, published: &news.published };
        self.surroundings.call(handler, invocation, deliveries).await.map_err(Failed::Handler)
    }
}

/// A delivery as the `attempt`-th call of a handler sees it.
pub(super) fn attempted(delivered: &Delivered, attempt: u32) -> Delivered {
    let mut delivered = delivered.clone();
    delivered.meta.attempt = attempt;
    delivered
}
