//! Events that are to be published later: kept beside the log, and moved into it when they are due.
//!
//! A delayed event takes its place in the order of its key when it is released. One relay at a time releases, in
//! the order of due times.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement, Value,
};

use super::{
    OutboxRecord, PublishError,
    store::{
        self,
        row::{self, COLUMN_COUNT, COLUMNS},
    },
};
use crate::{
    clock::Clock,
    sql::{self, from_micros, micros, statement, value_list, value_rows},
};

/// The most events released in one transaction.
const BATCH: u64 = 500;
/// The most bytes of theirs, unless the first alone has more. A statement that writes them must fit into MySQL's
/// `max_allowed_packet`, and each of them went into a statement of its own before.
const MAX_BYTES: i64 = 1 << 20;

/// How many events were delayed in this process. Their transactions may not be committed yet.
static HELD: AtomicU64 = AtomicU64::new(0);

/// Notices that events were delayed in this process. Each listener notices for itself: several outboxes do not take
/// each other's news.
#[derive(Debug)]
pub(crate) struct Delayed(u64);

impl Delayed {
    /// Notices what is delayed from now on.
    pub(crate) fn listen() -> Self {
        Self(HELD.load(Ordering::Relaxed))
    }

    /// Whether an event was delayed since the last call.
    pub(crate) fn any(&mut self) -> bool {
        let held = HELD.load(Ordering::Relaxed);
        std::mem::replace(&mut self.0, held) != held
    }
}

/// Keeps an event until `due`.
pub(super) async fn hold(
    txn: &DatabaseTransaction,
    record: &OutboxRecord,
    due: DateTime<Utc>,
) -> Result<(), PublishError> {
    let insert = format!(
        "INSERT INTO rustok_outbox_delayed (due_at, {COLUMNS}) VALUES {}",
        value_rows(1, COLUMN_COUNT + 1)
    );
    let mut values = vec![micros(due)];
    values.extend(row::values(record)?);
    txn.execute_raw(statement(txn.get_database_backend(), &insert, values)).await?;
    HELD.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// When the next delayed event is due.
pub(crate) async fn next_due(db: &DatabaseConnection) -> Result<Option<DateTime<Utc>>, DbErr> {
    let backend = db.get_database_backend();
    let sql = "SELECT MIN(due_at) AS due_at FROM rustok_outbox_delayed";
    let row = db.query_one_raw(Statement::from_string(backend, sql)).await?;
    let due: Option<i64> = row.map(|row| row.try_get("", "due_at")).transpose()?.flatten();
    due.map(from_micros).transpose()
}

/// Moves due events into the log, and returns how many.
///
/// Where another relay is releasing, leaves it to that one: two at a time could commit in the wrong order.
pub(crate) async fn release(db: &DatabaseConnection, clock: &Clock) -> Result<u64, PublishError> {
    let txn = sql::begin_write(db).await?;
    if !lock(&txn).await? {
        txn.rollback().await?;
        return Ok(0);
    }
    let backend = txn.get_database_backend();
    let now = clock.now();
    let ids = due(&txn, now).await?;
    if !ids.is_empty() {
        let list = value_list(ids.len());
        let values = ids.iter().map(|id| Value::from(*id));
        let select =
            format!("SELECT id, {COLUMNS} FROM rustok_outbox_delayed WHERE id IN ({list})");
        let rows = txn.query_all_raw(statement(backend, &select, values)).await?;
        let mut events = row::events(&rows)?;
        events.sort_by_key(|event| ids.iter().position(|id| *id == event.id));
        let records: Vec<OutboxRecord> = events.into_iter().map(|event| event.record).collect();
        store::of(&txn)?.append(&txn, &records).await?;
        sql::delete_by_id(&txn, "rustok_outbox_delayed", &ids).await?;
    }
    txn.commit().await?;
    Ok(ids.len() as u64)
}

/// The ids of the events that are due, the first ones first, as many as may be released at once.
async fn due(txn: &DatabaseTransaction, now: DateTime<Utc>) -> Result<Vec<i64>, DbErr> {
    let backend = txn.get_database_backend();
    let integer = if backend == DbBackend::MySql { "SIGNED" } else { "BIGINT" };
    let select = format!(
        "SELECT id, CAST(LENGTH(payload) + LENGTH(headers) AS {integer}) AS bytes
           FROM rustok_outbox_delayed WHERE due_at <= ? ORDER BY due_at, id LIMIT {BATCH}"
    );
    let rows = txn.query_all_raw(statement(backend, &select, [micros(now)])).await?;
    let mut ids = Vec::with_capacity(rows.len());
    let mut bytes: i64 = 0;
    for row in rows {
        bytes += row.try_get::<i64>("", "bytes")?;
        if bytes > MAX_BYTES && !ids.is_empty() {
            break;
        }
        ids.push(row.try_get("", "id")?);
    }
    Ok(ids)
}

/// The right to release, until the end of `txn`.
async fn lock(txn: &DatabaseTransaction) -> Result<bool, DbErr> {
    let backend = txn.get_database_backend();
    if backend == DbBackend::Sqlite {
        // One writer, and this transaction is it.
        return Ok(true);
    }
    let sql = format!(
        "SELECT name FROM rustok_outbox_meta WHERE name = 'release'{}",
        sql::skip_locked(backend)
    );
    Ok(txn.query_one_raw(Statement::from_string(backend, sql)).await?.is_some())
}
