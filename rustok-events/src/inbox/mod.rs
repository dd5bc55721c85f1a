//! The inbox: which events each handler is done with. Claimed first, in the transaction of the effects, so that
//! the effects of an event commit once however often it is delivered.

mod claim;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, Value};
use uuid::Uuid;

pub(crate) use self::claim::{Claimed, claim, claim_and_look, claim_each};
use crate::{
    EventId,
    sql::{micros, skip_locked, statement, value_list},
};

/// What became of an event at a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its effects are in the database.
    Handled,
    /// It lies among the held events: to be tried again, dead, or waiting behind one that is.
    Held,
    /// It was passed over, by the configuration or by an operator.
    Skipped,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Held => "held",
            Self::Skipped => "skipped",
        }
    }
}

/// Which of the events lie among the held ones of a handler.
pub(crate) async fn held(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    events: &[EventId],
) -> Result<HashSet<Uuid>, DbErr> {
    let select = format!(
        "SELECT event_id FROM rustok_inbox
          WHERE group_name = ? AND handler = ? AND outcome = ? AND event_id IN ({})",
        value_list(events.len())
    );
    let mut values: Vec<Value> = vec![group.into(), handler.into(), Outcome::Held.as_str().into()];
    values.extend(events.iter().map(|event| event.as_uuid().into()));
    let rows = txn.query_all_raw(statement(txn.get_database_backend(), &select, values)).await?;
    rows.iter().map(|row| row.try_get("", "event_id")).collect()
}

/// Whether an event counts as handled, as it does in the transaction that has claimed it.
pub(crate) async fn is_handled(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    event: EventId,
) -> Result<bool, DbErr> {
    let select = "SELECT 1 AS known FROM rustok_inbox
                   WHERE group_name = ? AND handler = ? AND event_id = ? AND outcome = ?";
    let outcome = Outcome::Handled.as_str().into();
    let values = [group.into(), handler.into(), event.as_uuid().into(), outcome];
    let row = txn.query_one_raw(statement(txn.get_database_backend(), select, values)).await?;
    Ok(row.is_some())
}

/// Changes what became of a claimed event.
pub(crate) async fn set(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    event: EventId,
    outcome: Outcome,
) -> Result<(), DbErr> {
    let sql = "UPDATE rustok_inbox SET outcome = ?
                WHERE group_name = ? AND handler = ? AND event_id = ?";
    let values = [outcome.as_str().into(), group.into(), handler.into(), event.as_uuid().into()];
    txn.execute_raw(statement(txn.get_database_backend(), sql, values)).await?;
    Ok(())
}

/// Gives an event another outcome, whose handler has no inbox and is called with it whatever became of it before: `false`
/// if it is held already.
pub(crate) async fn reopen(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    event: EventId,
    outcome: Outcome,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    change(txn, group, handler, event, (outcome, "<>"), now).await
}

/// Gives an event another outcome if the one that it has is, or with `<>` is not, that it is held; `false` if not.
async fn change(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    event: EventId,
    (to, compared): (Outcome, &str),
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let sql = format!(
        "UPDATE rustok_inbox SET outcome = ?, recorded_at = ?
          WHERE group_name = ? AND handler = ? AND event_id = ? AND outcome {compared} ?"
    );
    let values = [
        to.as_str().into(),
        micros(now),
        group.into(),
        handler.into(),
        event.as_uuid().into(),
        Outcome::Held.as_str().into(),
    ];
    let updated = txn.execute_raw(statement(txn.get_database_backend(), &sql, values)).await?;
    Ok(updated.rows_affected() == 1)
}

/// Notes that a held event was given up.
pub(crate) async fn skip(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    event: EventId,
) -> Result<(), DbErr> {
    set(txn, group, handler, event, Outcome::Skipped).await
}

/// Claims an event that was held, for another attempt: `false` if it has been handled meanwhile.
///
/// Like [`claim`], part of `txn`; another transaction that claims the same event waits for this one to end.
pub(crate) async fn claim_held(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    event: EventId,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    if change(txn, group, handler, event, (Outcome::Handled, "="), now).await? {
        return Ok(true);
    }
    Ok(claim(txn, group, handler, &[event], Outcome::Handled, now).await? == Claimed::All)
}

/// Forgets up to `limit` events of a handler that had their result before a time, oldest first, and returns how many
/// those were. Held events are not forgotten: they have no result yet.
pub(crate) async fn forget(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    before: DateTime<Utc>,
    limit: u32,
) -> Result<u64, DbErr> {
    let backend = txn.get_database_backend();
    let select = format!(
        "SELECT event_id FROM rustok_inbox
          WHERE group_name = ? AND handler = ? AND event_id < ? AND recorded_at < ? AND outcome <> ?
          ORDER BY event_id LIMIT {limit}{}",
        skip_locked(backend)
    );
    let values = [
        group.into(),
        handler.into(),
        first_id_of(before).into(),
        micros(before),
        Outcome::Held.as_str().into(),
    ];
    let rows = txn.query_all_raw(statement(backend, &select, values)).await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let delete = format!(
        "DELETE FROM rustok_inbox WHERE group_name = ? AND handler = ? AND event_id IN ({})",
        value_list(rows.len())
    );
    let mut values: Vec<Value> = vec![group.into(), handler.into()];
    for row in &rows {
        values.push(row.try_get::<Uuid>("", "event_id")?.into());
    }
    Ok(txn.execute_raw(statement(backend, &delete, values)).await?.rows_affected())
}

/// The smallest id that an event of this time can have.
fn first_id_of(time: DateTime<Utc>) -> Uuid {
    let millis = u128::from(time.timestamp_millis().unsigned_abs());
    Uuid::from_u128(millis << 80)
}

/// How many events a handler has handled.
#[cfg_attr(not(feature = "testing"), allow(dead_code, reason = "asked by the test kit"))]
pub(crate) async fn handled(
    db: &DatabaseConnection,
    group: &str,
    handler: &str,
) -> Result<u64, DbErr> {
    let sql = "SELECT COUNT(*) AS events FROM rustok_inbox
                WHERE group_name = ? AND handler = ? AND outcome = 'handled'";
    let values = [group.into(), handler.into()];
    let row = db
        .query_one_raw(statement(db.get_database_backend(), sql, values))
        .await?
        .ok_or_else(|| DbErr::RecordNotFound("COUNT has no row".to_owned()))?;
    Ok(row.try_get::<i64>("", "events")?.unsigned_abs())
}
