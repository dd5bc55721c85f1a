//! Held events: what a handler could not handle, and the later events of the same keys that wait behind in order.
//!
//! ```text
//! failed ─▶ retry (due at a time) ─▶ handled: gone, the next of the key is due
//!   │            └─▶ dead ◀── terminal, or out of attempts     dead ─▶ retry   (an operator's word)
//! later ─▶ waiting ─────────▲ promoted when it is the first     dead ─▶ discarded (an operator's word)
//! ```
//!
//! An event is kept with the exact bytes and headers it came with. While a key has a held event that blocks it,
//! every later event of the key is held behind it, and no other key is touched. The rows themselves say what is
//! blocked; there is no mark beside them that could disagree.
//!
//! What is held behind an event is seen by whoever ends that event's wait: the transaction that holds it locks the
//! first event of the key and commits before that one can be handled or given up, or finds that nothing is held any
//! more, and then the event is due at once.

mod enter;
mod forget;
mod leave;
mod queue;
mod signal;

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DbErr, Value};
use uuid::Uuid;

pub(crate) use self::{
    enter::{Reason, hold, id_of, message_id},
    forget::{Record, forget},
    leave::{Failing, complete, fail, release},
    queue::{
        Claim, Due, HeldEvent, claim, claimed, due, next_due, promote, release_all, unpromoted,
    },
    signal::{Changes, listen, notify},
};
use crate::{
    envelope::EventMeta,
    sql::{statement, value_list},
    transport::TopicName,
};

/// Who holds an event: one handler of one group, on one topic. No handler's name is empty: an empty one stands for
/// all handlers of the group, for messages that were not even readable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub(crate) group: &'a str,
    pub(crate) handler: &'a str,
    pub(crate) topic: &'a TopicName,
}

impl Holder<'_> {
    pub(crate) const CONDITION: &'static str =
        "group_name = ? AND handler = ? AND stream = ? AND topic = ?";

    pub(crate) fn values(&self) -> Vec<Value> {
        vec![
            self.group.into(),
            self.handler.into(),
            self.topic.stream().into(),
            self.topic.topic().into(),
        ]
    }
}

/// What becomes of a held event.
pub(crate) mod state {
    /// It is tried again when it is due.
    pub(crate) const RETRY: &str = "retry";
    /// It waits behind an earlier event of its key.
    pub(crate) const WAITING: &str = "waiting";
    /// An operator decides.
    pub(crate) const DEAD: &str = "dead";
    /// An operator decided against it. Kept as a record for a while; `due_at` is when that was.
    pub(crate) const DISCARDED: &str = "discarded";
    /// The configuration decided against it. Kept as a record for a while; `due_at` is when that was.
    pub(crate) const SKIPPED: &str = "skipped";
}

/// A key as held events know it. Tenants never share one.
pub(crate) type TenantKey = (Uuid, Vec<u8>);

/// The key of an event; `None` if its order does not matter.
pub(crate) fn tenant_key(meta: &EventMeta) -> Option<TenantKey> {
    Some((meta.tenant_id, meta.key.clone()?))
}

/// Selects something that a [`Holder`] holds and that blocks a key.
pub(crate) fn blocking() -> String {
    let condition = Holder::CONDITION;
    format!("SELECT id FROM rustok_held WHERE {condition} AND blocks_key = TRUE LIMIT 1")
}

/// Which of `keys` are blocked at a handler.
///
/// Nothing is held most of the time, and then this is one look at an index.
pub(crate) async fn blocked_keys(
    connection: &impl ConnectionTrait,
    holder: Holder<'_>,
    keys: impl FnOnce() -> HashSet<TenantKey>,
) -> Result<HashSet<TenantKey>, DbErr> {
    let backend = connection.get_database_backend();
    let any = statement(backend, &blocking(), holder.values());
    if connection.query_one_raw(any).await?.is_none() {
        return Ok(HashSet::new());
    }
    let condition = Holder::CONDITION;
    let keys = keys();
    let mut blocked = HashSet::new();
    let names: Vec<&Vec<u8>> =
        keys.iter().map(|(_, key)| key).collect::<HashSet<_>>().into_iter().collect();
    for names in names.chunks(500) {
        let sql = format!(
            "SELECT DISTINCT tenant_id, partition_key FROM rustok_held
              WHERE {condition} AND blocks_key = TRUE AND partition_key IN ({})",
            value_list(names.len())
        );
        let mut values = holder.values();
        values.extend(names.iter().map(|name| Value::from((*name).clone())));
        for row in connection.query_all_raw(statement(backend, &sql, values)).await? {
            let key = (row.try_get("", "tenant_id")?, row.try_get("", "partition_key")?);
            if keys.contains(&key) {
                blocked.insert(key);
            }
        }
    }
    Ok(blocked)
}
