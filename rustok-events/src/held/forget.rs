//! Records of what was discarded or passed over are kept for a while, and then forgotten.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Value};

use super::state;
use crate::sql::{micros, skip_locked, statement, value_list};

/// Forgets up to `limit` records of one state that were made before a time, oldest first, and returns how many those
/// were. What still waits for something, and what an operator has yet to decide on, is never forgotten.
pub(crate) async fn forget(
    txn: &DatabaseTransaction,
    record: Record,
    before: DateTime<Utc>,
    limit: u32,
) -> Result<u64, DbErr> {
    let backend = txn.get_database_backend();
    let select = format!(
        "SELECT id FROM rustok_held WHERE state = ? AND due_at < ? ORDER BY due_at LIMIT {limit}{}",
        skip_locked(backend)
    );
    let values = [record.state().into(), micros(before)];
    let rows = txn.query_all_raw(statement(backend, &select, values)).await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let ids = rows.iter().map(|row| row.try_get::<i64>("", "id").map(Value::from));
    let ids = ids.collect::<Result<Vec<Value>, DbErr>>()?;
    let delete = format!("DELETE FROM rustok_held WHERE id IN ({})", value_list(ids.len()));
    Ok(txn.execute_raw(statement(backend, &delete, ids)).await?.rows_affected())
}

/// What is only a record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Record {
    /// An operator decided against it.
    Discarded,
    /// The configuration decided against it.
    Skipped,
}

impl Record {
    const fn state(self) -> &'static str {
        match self {
            Self::Discarded => state::DISCARDED,
            Self::Skipped => state::SKIPPED,
        }
    }
}
