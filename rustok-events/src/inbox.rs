//! The inbox: which events each handler is done with. Claimed first, in the transaction of the effects, so that
//! the effects of an event commit once however often it is delivered.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr};
use uuid::Uuid;

use crate::{
    EventId,
    sql::{micros, statement, value_rows},
};

/// What became of an event at a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its effects are in the database.
    Handled,
    /// It lies among the held events: dead, or waiting behind one that is.
    Held,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Held => "held",
        }
    }
}

/// Claims events for a handler, and returns those that nobody had claimed before.
///
/// The claim is part of `txn`: it is gone if `txn` rolls back, and another transaction that claims the same event
/// waits for this one to end.
pub(crate) async fn claim(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    events: impl ExactSizeIterator<Item = EventId>,
    outcome: Outcome,
    now: DateTime<Utc>,
) -> Result<HashSet<Uuid>, DbErr> {
    let sql = format!(
        "INSERT INTO rustok_inbox (group_name, handler, event_id, outcome, recorded_at) VALUES {}
         ON CONFLICT DO NOTHING RETURNING event_id",
        value_rows(events.len(), 5)
    );
    let values = events.flat_map(|event| {
        [group.into(), handler.into(), event.as_uuid().into(), outcome.as_str().into(), micros(now)]
    });
    let rows = txn.query_all_raw(statement(txn.get_database_backend(), &sql, values)).await?;
    rows.iter().map(|row| row.try_get("", "event_id")).collect()
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
