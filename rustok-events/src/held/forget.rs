//! Records of what was discarded or passed over are kept for a while, and then forgotten.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::state;
use crate::sql::{delete_by_id, micros, skip_locked, statement};

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
    let ids = rows.iter().map(|row| row.try_get("", "id")).collect::<Result<Vec<i64>, DbErr>>()?;
    delete_by_id(txn, "rustok_held", &ids).await
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
