//! How long published events are kept: a replay window, after which they go, on PostgreSQL by the partition, elsewhere
//! in small batches.
//!
//! Only rows that are published are deleted, and nobody else writes or locks those: a deletion waits for no writer,
//! and no writer for a deletion. While published rows are listed again to be published once more, nothing is deleted.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr};

use super::{
    cluster,
    store::{self, CleanedUp},
};
use crate::{
    clock::Clock,
    partition,
    sql::{self, begin_write, statement},
};

/// The most rows that one batch forgets or lists.
const BATCH: u64 = 1000;

/// A step of letting published events go that were written before the window; nothing is left once it did nothing.
pub(crate) async fn prune(
    db: &DatabaseConnection,
    window: Duration,
    least: u64,
    clock: &Clock,
) -> Result<CleanedUp, DbErr> {
    let store = store::of(db).map_err(|error| DbErr::Custom(error.to_string()))?;
    // In another cluster's numbers everything may look published.
    if let Some(trouble) = cluster::check(db).await? {
        return Err(DbErr::Custom(trouble.to_string()));
    }
    let now = sql::now(db, clock).await?;
    store.clean_up(db, window, least, now).await
}

/// Forgets write-once ids that were claimed before the window; returns how many.
pub(crate) async fn forget_ids(
    db: &DatabaseConnection,
    window: Duration,
    clock: &Clock,
) -> Result<u64, DbErr> {
    let window = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
    let before = sql::now(db, clock).await?.saturating_sub(window);
    let backend = db.get_database_backend();
    let select = format!(
        "SELECT event_id FROM rustok_outbox_once WHERE created_at < ? ORDER BY created_at LIMIT {BATCH}"
    );
    let rows = db.query_all_raw(statement(backend, &select, [before.into()])).await?;
    let mut forgotten = 0;
    for row in rows {
        let id: uuid::Uuid = row.try_get("", "event_id")?;
        let delete = "DELETE FROM rustok_outbox_once WHERE event_id = ?";
        forgotten += db.execute_raw(statement(backend, delete, [id.into()])).await?.rows_affected();
    }
    Ok(forgotten)
}

/// Publishes again what was written at `since` or later and is still kept, each key in its order: for a broker that
/// lost the tail of its log. Returns how many events.
///
/// Handlers that have an inbox handle each of them once all the same; the group's offset must be set back by whoever
/// asks for this. Events that are published meanwhile are not held up, so an event that was lost can arrive after a
/// later one of its key.
///
/// # Errors
/// The database's; then nothing is published again.
pub async fn republish(
    db: &DatabaseConnection,
    since: impl Into<chrono::DateTime<chrono::Utc>>,
) -> Result<u64, DbErr> {
    let since = since.into().timestamp_micros();
    let backend = db.get_database_backend();
    let columns = store::row::COLUMNS;
    let txn = begin_write(db).await?;
    // Copied in id order, so that the copies' ids have the order of the originals'.
    let copied = match backend {
        DbBackend::Postgres => {
            let copy = format!(
                "INSERT INTO rustok_outbox (part, {columns})
                 SELECT part, {columns} FROM rustok_outbox WHERE created_at >= ? ORDER BY id"
            );
            txn.execute_raw(statement(backend, &copy, [since.into()])).await?.rows_affected()
        }
        DbBackend::MySql => pend_again(&txn, since).await?,
        _ => {
            let copy = format!(
                "INSERT INTO rustok_outbox ({columns})
                 SELECT {columns} FROM rustok_outbox WHERE created_at >= ? ORDER BY id"
            );
            txn.execute_raw(statement(backend, &copy, [since.into()])).await?.rows_affected()
        }
    };
    txn.commit().await?;
    super::wake::notify();
    Ok(copied)
}

/// Lists kept events as pending once more. Their ids stay, and with them their order.
async fn pend_again(txn: &DatabaseTransaction, since: i64) -> Result<u64, DbErr> {
    if !store::mysql::lock_log(txn, " FOR UPDATE").await? {
        return Err(DbErr::RecordNotFound("the version of the tables".to_owned()));
    }
    let mut last: i64 = 0;
    let mut listed = 0;
    loop {
        let select = format!(
            "SELECT id, partition_key, event_id FROM rustok_outbox
              WHERE id > ? AND created_at >= ? ORDER BY id LIMIT {BATCH}"
        );
        let select = statement(DbBackend::MySql, &select, [last.into(), since.into()]);
        let rows = txn.query_all_raw(select).await?;
        if rows.is_empty() {
            return Ok(listed);
        }
        let mut events: Vec<(i64, i64)> = Vec::with_capacity(rows.len());
        for row in &rows {
            last = row.try_get("", "id")?;
            let key: Option<Vec<u8>> = row.try_get("", "partition_key")?;
            let id: uuid::Uuid = row.try_get("", "event_id")?;
            let part = partition::of(key.as_deref().unwrap_or(id.as_bytes()), store::PARTS);
            events.push((i64::from(part), last));
        }
        store::mysql::list(txn, &events).await?;
        listed += rows.len() as u64;
    }
}
