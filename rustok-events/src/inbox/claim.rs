//! Claiming: one statement for however many events.

use std::{collections::HashSet, fmt::Write as _};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Value};
use uuid::Uuid;

use super::Outcome;
use crate::{
    EventId,
    held::{self, Holder},
    sql::{SETTINGS, insert_if_absent, micros, statement, value_list},
};

const COLUMNS: &str = "group_name, handler, event_id, outcome, recorded_at";

/// How many events of a claim nobody had claimed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// All of them.
    All,
    /// None of them.
    Nothing,
    /// Some, and which is not known: the transaction is to be rolled back and begun again with [`claim_each`]. Never
    /// the answer for one event.
    Mixed,
}

/// Claims events for a handler, if nobody had claimed them before.
///
/// The claim is part of `txn`: it is gone if `txn` rolls back, and another transaction that claims the same event
/// waits for this one to end. On PostgreSQL it makes the commit of `txn` durable, and fails under another isolation
/// level than READ COMMITTED ([`SETTINGS`]): `txn` may be one of [`begin_unset`](crate::sql::begin_unset).
pub(crate) async fn claim(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    events: &[EventId],
    outcome: Outcome,
    now: DateTime<Utc>,
) -> Result<Claimed, DbErr> {
    let backend = txn.get_database_backend();
    let (sql, values) = insert(backend, group, handler, events, outcome, now);
    let inserted = txn.execute_raw(statement(backend, &sql, values)).await?.rows_affected();
    Ok(counted(inserted, events))
}

fn counted(inserted: u64, events: &[EventId]) -> Claimed {
    match inserted {
        0 => Claimed::Nothing,
        _ if inserted == events.len() as u64 => Claimed::All,
        _ => Claimed::Mixed,
    }
}

/// Claims events like [`claim`], as handled, and says whether the handler holds anything that blocks a key, in one
/// question to PostgreSQL; elsewhere that remains to be asked, and the answer is `true`.
///
/// What blocks is seen as of before the claim. Where that waited for another transaction, it may have missed what was
/// held meanwhile; but if all were claimed then none of these events is held by anybody, and events before these had
/// their results before these were handed out.
pub(crate) async fn claim_and_look(
    txn: &DatabaseTransaction,
    holder: Holder<'_>,
    events: &[EventId],
    now: DateTime<Utc>,
) -> Result<(Claimed, bool), DbErr> {
    let backend = txn.get_database_backend();
    let Holder { group, handler, .. } = holder;
    let outcome = Outcome::Handled;
    if backend != DbBackend::Postgres {
        return Ok((claim(txn, group, handler, events, outcome, now).await?, true));
    }
    let (insert, mut values) = insert(backend, group, handler, events, outcome, now);
    let blocking = held::blocking();
    let sql = format!(
        "WITH claimed AS ({insert} RETURNING 1)
         SELECT COUNT(*) AS claimed, EXISTS ({blocking}) AS blocks FROM claimed"
    );
    values.extend(holder.values());
    let row = txn
        .query_one_raw(statement(backend, &sql, values))
        .await?
        .ok_or_else(|| DbErr::RecordNotFound("COUNT has no row".to_owned()))?;
    let inserted: i64 = row.try_get("", "claimed")?;
    Ok((counted(inserted.unsigned_abs(), events), row.try_get("", "blocks")?))
}

/// Claims events like [`claim`], and returns those that nobody had claimed before.
pub(crate) async fn claim_each(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    events: &[EventId],
    outcome: Outcome,
    now: DateTime<Utc>,
) -> Result<HashSet<Uuid>, DbErr> {
    let backend = txn.get_database_backend();
    if backend == DbBackend::MySql {
        return claim_counted(txn, group, handler, events, outcome, now).await;
    }
    let (mut sql, values) = insert(backend, group, handler, events, outcome, now);
    sql.push_str(" RETURNING event_id");
    let rows = txn.query_all_raw(statement(backend, &sql, values)).await?;
    rows.iter().map(|row| row.try_get("", "event_id")).collect()
}

/// [`claim_each`] on a database whose inserts only say how many rows they wrote: what is there is left out first.
async fn claim_counted(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    events: &[EventId],
    outcome: Outcome,
    now: DateTime<Utc>,
) -> Result<HashSet<Uuid>, DbErr> {
    let select = format!(
        "SELECT event_id FROM rustok_inbox WHERE group_name = ? AND handler = ? AND event_id IN ({})",
        value_list(events.len())
    );
    let mut ids: Vec<Value> = vec![group.into(), handler.into()];
    ids.extend(events.iter().map(|event| event.as_uuid().into()));
    let mut seen = HashSet::with_capacity(events.len());
    for row in txn.query_all_raw(statement(txn.get_database_backend(), &select, ids)).await? {
        seen.insert(row.try_get::<Uuid>("", "event_id")?);
    }
    // A set too: one delivery may hold an event twice.
    let new: Vec<EventId> =
        events.iter().filter(|event| seen.insert(event.as_uuid())).copied().collect();
    if new.is_empty() {
        return Ok(HashSet::new());
    }
    match claim(txn, group, handler, &new, outcome, now).await? {
        Claimed::All => Ok(new.iter().map(|event| event.as_uuid()).collect()),
        Claimed::Nothing => Ok(HashSet::new()),
        // Which of them another member claimed meanwhile is not known: the caller takes fewer.
        Claimed::Mixed => {
            Err(DbErr::Custom("another member of the group claimed a part of the batch".to_owned()))
        }
    }
}

/// The statement that writes the rows of a claim. On PostgreSQL and SQLite all ids are one parameter, so that the
/// statement is the same, and prepared once, for any number of them.
fn insert(
    backend: DbBackend,
    group: &str,
    handler: &str,
    events: &[EventId],
    outcome: Outcome,
    now: DateTime<Utc>,
) -> (String, Vec<Value>) {
    let outcome = Value::from(outcome.as_str());
    let (ids, condition, list) = match backend {
        DbBackend::Postgres => {
            ("SELECT unnest(?::text::uuid[]) AS id", SETTINGS, quoted(events, "", ['{', '}']))
        }
        DbBackend::Sqlite => (
            "SELECT unhex(value) AS id FROM json_each(?)",
            "TRUE",
            quoted(events, "\"", ['[', ']']),
        ),
        _ => {
            let row = |event: &EventId| {
                let id = event.as_uuid().into();
                [group.into(), handler.into(), id, outcome.clone(), micros(now)]
            };
            let sql = insert_if_absent(backend, "rustok_inbox", COLUMNS, events.len());
            return (sql, events.iter().flat_map(row).collect());
        }
    };
    let sql = format!(
        "INSERT INTO rustok_inbox ({COLUMNS}) SELECT ?, ?, ids.id, ?, ? FROM ({ids}) ids WHERE {condition} ON CONFLICT DO NOTHING"
    );
    (sql, vec![group.into(), handler.into(), outcome, micros(now), list.into()])
}

/// The ids in hexadecimal, separated by commas, each between quotes and all between brackets.
fn quoted(events: &[EventId], quote: &str, [open, close]: [char; 2]) -> String {
    let mut list = String::with_capacity(2 + events.len() * 35);
    list.push(open);
    for (place, event) in events.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        // Writing into a string never fails.
        let _ = write!(list, "{comma}{quote}{}{quote}", event.as_uuid().simple());
    }
    list.push(close);
    list
}
