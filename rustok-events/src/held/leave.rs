//! How a held event stops being held, or goes on being so.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Value};

use super::{Claim, HeldEvent, Holder, promote, state};
use crate::{
    handler::Failure,
    sql::{code, micros, statement, text},
};

/// What a failed attempt makes of a held event.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failing {
    /// It is tried again.
    Retry { due_at: DateTime<Utc>, attempts_left: u32 },
    /// An operator decides.
    Dead { parks_key: bool },
    /// It is passed over, with a record.
    Skipped,
}

/// Forgets a claimed event that was handled, and returns the next of its key if it is now the claimer's. `None` in
/// the place of the whole if the claim was lost: then nothing may be committed.
pub(crate) async fn complete(
    txn: &DatabaseTransaction,
    holder: Holder<'_>,
    event: &HeldEvent,
    claim: &Claim,
    now: DateTime<Utc>,
) -> Result<Option<Option<i64>>, DbErr> {
    let sql = "DELETE FROM rustok_held WHERE id = ? AND state = ? AND lease_owner = ?";
    let values = [event.id.into(), state::RETRY.into(), claim.owner.as_str().into()];
    let gone = txn.execute_raw(statement(txn.get_database_backend(), sql, values)).await?;
    if gone.rows_affected() == 0 {
        return Ok(None);
    }
    match &event.key {
        Some(key) => promote(txn, holder, key, now, Some(claim)).await.map(Some),
        None => Ok(Some(None)),
    }
}

/// Writes down that a claimed event failed again, and gives it back. What waits behind it goes on if it no longer
/// blocks its key. `false` if the claim was lost.
pub(crate) async fn fail(
    txn: &DatabaseTransaction,
    holder: Holder<'_>,
    event: &HeldEvent,
    claim: &Claim,
    failure: &Failure,
    failing: Failing,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let (state, due_at, attempts_left, blocks_key) = match failing {
        Failing::Retry { due_at, attempts_left } => {
            (state::RETRY, micros(due_at), attempts_left, event.key.is_some())
        }
        Failing::Dead { parks_key } => {
            (state::DEAD, Value::BigInt(None), 0, parks_key && event.key.is_some())
        }
        Failing::Skipped => (state::SKIPPED, micros(now), 0, false),
    };
    let sql = "UPDATE rustok_held
                  SET state = ?, due_at = ?, attempts = ?, attempts_left = ?, blocks_key = ?, code = ?, error = ?,
                      first_failed_at = COALESCE(first_failed_at, ?), last_failed_at = ?,
                      lease_owner = NULL, lease_until = NULL
                WHERE id = ? AND state = ? AND lease_owner = ?";
    let values: [Value; 12] = [
        state.into(),
        due_at,
        i64::from(event.attempts + 1).into(),
        i64::from(attempts_left).into(),
        blocks_key.into(),
        code(failure.code).into(),
        text(&failure.error).into(),
        micros(now),
        micros(now),
        event.id.into(),
        state::RETRY.into(),
        claim.owner.as_str().into(),
    ];
    let updated = txn.execute_raw(statement(txn.get_database_backend(), sql, values)).await?;
    let failed = updated.rows_affected() == 1;
    if failed
        && !blocks_key
        && let Some(key) = &event.key
    {
        promote(txn, holder, key, now, None).await?;
    }
    Ok(failed)
}

/// Gives a claimed event back untried.
pub(crate) async fn release(
    connection: &impl ConnectionTrait,
    event: i64,
    claim: &Claim,
    due_at: DateTime<Utc>,
) -> Result<(), DbErr> {
    let sql = "UPDATE rustok_held SET due_at = ?, lease_owner = NULL, lease_until = NULL
                WHERE id = ? AND state = ? AND lease_owner = ?";
    let values = [micros(due_at), event.into(), state::RETRY.into(), claim.owner.as_str().into()];
    connection.execute_raw(statement(connection.get_database_backend(), sql, values)).await?;
    Ok(())
}
