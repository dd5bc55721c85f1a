//! PostgreSQL: an insert-only log read through snapshot windows, its parts leased to any number of relays.
//!
//! A window is what the current snapshot sees and the part's last snapshot did not, in `id` order. If one event was
//! committed before another was published, every snapshot that sees the second sees the first, so no window can
//! put them in the wrong order; ids alone, or transaction ids, could. A long transaction delays only its own
//! events.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, QueryResult,
    Statement, Value,
};
use sea_orm_migration::async_trait::async_trait;

use super::{
    Cursor, Lease, Mark, OutboxStore, Page, Window,
    row::{self, COLUMN_COUNT, COLUMNS},
};
use crate::{
    clock::Clock,
    outbox::{OutboxRecord, PublishError},
    sql::{self as sql_text, statement, value_rows},
};

/// PostgreSQL takes 65,535 parameters a statement.
const ROWS_PER_STATEMENT: usize = 2000;

/// The PostgreSQL store.
#[derive(Debug)]
pub(super) struct PostgresStore;

fn sql(sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    statement(DbBackend::Postgres, sql, values)
}

#[async_trait]
impl OutboxStore for PostgresStore {
    async fn append(
        &self,
        txn: &DatabaseTransaction,
        records: &[OutboxRecord],
    ) -> Result<(), PublishError> {
        for chunk in records.chunks(ROWS_PER_STATEMENT) {
            let insert = format!(
                "INSERT INTO rustok_outbox (part, {COLUMNS}) VALUES {}",
                value_rows(chunk.len(), COLUMN_COUNT + 1)
            );
            let mut values = Vec::with_capacity(chunk.len() * (COLUMN_COUNT + 1));
            for record in chunk {
                values.push(super::part(record).into());
                values.extend(row::values(record)?);
            }
            txn.execute_raw(sql(&insert, values)).await?;
        }
        Ok(())
    }

    async fn pages(
        &self,
        db: &DatabaseConnection,
        leases: &[Lease],
        limit: u64,
        turn: usize,
    ) -> Result<Vec<Page>, DbErr> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let rows = window(db, leases, limit, turn).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        make_durable(db, rows[0].try_get("", "written")?).await?;
        into_pages(&rows, leases, limit)
    }

    async fn advance(
        &self,
        db: &DatabaseConnection,
        pages: &[Page],
        clock: &Clock,
    ) -> Result<u64, DbErr> {
        let mut values = Vec::with_capacity(pages.len() * 8 + 1);
        let mut rows = 0;
        for page in pages {
            let Cursor::Window { before, hi, last_id, whole } = &page.cursor else { continue };
            rows += 1;
            values.extend([
                page.lease.part.into(),
                page.lease.epoch.into(),
                before.snapshot.clone().into(),
                before.hi.clone().into(),
                before.last_id.into(),
                hi.clone().into(),
                (*last_id).into(),
                (*whole).into(),
            ]);
        }
        let one =
            "(?::bigint, ?::bigint, ?::text, ?::text, ?::bigint, ?::text, ?::bigint, ?::boolean)";
        let update = format!(
            "UPDATE rustok_outbox_cursor c
                SET snapshot = CASE WHEN d.whole THEN d.hi::pg_snapshot ELSE c.snapshot END,
                    hi = CASE WHEN d.whole THEN NULL ELSE d.hi::pg_snapshot END,
                    last_id = CASE WHEN d.whole THEN 0 ELSE d.last_id END
               FROM (VALUES {}) AS d(part, epoch, old_snapshot, old_hi, old_last_id, hi, last_id, whole)
              WHERE c.part = d.part AND c.epoch = d.epoch AND c.lease_until >= {NOW}
                AND c.snapshot::text = d.old_snapshot AND c.hi::text IS NOT DISTINCT FROM d.old_hi
                AND c.last_id = d.old_last_id",
            vec![one; rows].join(", ")
        );
        values.push(manual_now(clock));
        Ok(db.execute_raw(sql(&update, values)).await?.rows_affected())
    }

    async fn mark(&self, db: &DatabaseConnection) -> Result<Mark, DbErr> {
        let row =
            db.query_one_raw(sql("SELECT pg_current_snapshot()::text AS snapshot", [])).await?;
        let snapshot: Option<String> = row.map(|row| row.try_get("", "snapshot")).transpose()?;
        Ok(Mark::Snapshot(snapshot.unwrap_or_default()))
    }

    async fn backlog(&self, db: &DatabaseConnection, mark: &Mark) -> Result<u64, DbErr> {
        let Mark::Snapshot(snapshot) = mark else { return Ok(0) };
        let select = format!("SELECT COUNT(*) AS events {WAITING}");
        super::count(db, sql(&select, [snapshot.clone().into()])).await
    }

    async fn is_drained(&self, db: &DatabaseConnection, mark: &Mark) -> Result<bool, DbErr> {
        let Mark::Snapshot(snapshot) = mark else { return Ok(true) };
        let select = format!("SELECT COUNT(*) AS events FROM (SELECT 1 {WAITING} LIMIT 1) waiting");
        Ok(super::count(db, sql(&select, [snapshot.clone().into()])).await? == 0)
    }
}

/// The events that are visible in a snapshot and lie behind no cursor.
const WAITING: &str = "FROM rustok_outbox_cursor c
      JOIN rustok_outbox o ON o.part = c.part AND o.txid >= pg_snapshot_xmin(c.snapshot)
     WHERE pg_visible_in_snapshot(o.txid, ?::pg_snapshot)
       AND NOT pg_visible_in_snapshot(o.txid, c.snapshot)
       AND NOT (c.hi IS NOT NULL AND o.id <= c.last_id AND pg_visible_in_snapshot(o.txid, c.hi))";

/// The database's time in microseconds, or that of a clock moved by hand.
const NOW: &str = "COALESCE(?::bigint, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint)";

/// The parameter of [`NOW`].
fn manual_now(clock: &Clock) -> Value {
    Value::BigInt(clock.is_manual().then(|| clock.now().timestamp_micros()))
}

/// The events of the leased parts' windows: part by part from `turn` on, `limit` and one more in all, by id inside
/// a part. The one more tells a window that was read to its end from one that was not.
async fn window(
    db: &DatabaseConnection,
    leases: &[Lease],
    limit: usize,
    turn: usize,
) -> Result<Vec<QueryResult>, DbErr> {
    if leases.is_empty() {
        return Ok(Vec::new());
    }
    // The holder names the epoch it holds: one read back from the row would let a relay that lost its lease adopt
    // the epoch of its successor.
    let one = "(?::bigint, ?::bigint, ?::bigint)";
    let select = format!(
        "WITH now AS MATERIALIZED (SELECT pg_current_snapshot() AS s),
              held(turn, part, epoch) AS (VALUES {}),
              c AS MATERIALIZED (
                  SELECT h.turn, c.part, c.snapshot AS lo, c.hi AS old_hi, COALESCE(c.hi, now.s) AS hi, c.last_id
                    FROM held h JOIN rustok_outbox_cursor c ON c.part = h.part AND c.epoch = h.epoch, now)
         SELECT c.part::bigint AS part, c.lo::text AS lo, c.old_hi::text AS old_hi, c.hi::text AS hi,
                c.last_id AS old_last_id, pg_current_wal_insert_lsn()::text AS written, o.id, {}
           FROM (SELECT * FROM c ORDER BY turn) c CROSS JOIN LATERAL (
               SELECT * FROM (
                   SELECT e.* FROM rustok_outbox e
                    WHERE e.part = c.part
                      AND e.txid >= pg_snapshot_xmax(c.lo) AND e.txid < pg_snapshot_xmax(c.hi)
                      AND pg_visible_in_snapshot(e.txid, c.hi) AND e.id > c.last_id
                   UNION ALL
                   SELECT e.* FROM pg_snapshot_xip(c.lo) x
                     JOIN rustok_outbox e ON e.part = c.part AND e.txid = x
                    WHERE pg_visible_in_snapshot(e.txid, c.hi) AND e.id > c.last_id
               ) w ORDER BY w.id LIMIT ?) o
          LIMIT ?",
        vec![one; leases.len()].join(", "),
        COLUMNS.split(", ").map(|column| format!("o.{}", column.trim())).collect::<Vec<_>>().join(", "),
    );
    let mut values = Vec::with_capacity(leases.len() * 3 + 2);
    for place in 0..leases.len() {
        let lease = &leases[(place + turn) % leases.len()];
        let turn = i64::try_from(place).unwrap_or(i64::MAX);
        values.extend([turn.into(), lease.part.into(), lease.epoch.into()]);
    }
    let limit = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    values.extend([limit.into(), limit.into()]);
    db.query_all_raw(sql(&select, values)).await
}

/// Makes sure that the log is flushed up to `written`, so that what was read is durable.
///
/// With `synchronous_commit = off` a transaction is visible before it is flushed, and the server could forget it
/// after its event went out. Mostly the log is flushed that far already; if not, one synchronous commit flushes all
/// that was written before it.
async fn make_durable(db: &DatabaseConnection, written: String) -> Result<(), DbErr> {
    let select = "SELECT pg_current_wal_flush_lsn() >= ?::pg_lsn AS durable";
    let row = db.query_one_raw(sql(select, [written.into()])).await?;
    if row.is_some_and(|row| row.try_get("", "durable").unwrap_or(false)) {
        return Ok(());
    }
    let txn = sql_text::begin_write(db).await?;
    txn.execute_unprepared("SET LOCAL synchronous_commit = on").await?;
    txn.execute_unprepared(
        "SELECT pg_current_xact_id(), pg_logical_emit_message(true, 'rustok', '')",
    )
    .await?;
    txn.commit().await
}

/// The rows of [`window`] as pages, one per part.
fn into_pages(rows: &[QueryResult], leases: &[Lease], limit: usize) -> Result<Vec<Page>, DbErr> {
    let mut pages: Vec<Page> = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let part: i64 = row.try_get("", "part")?;
        if place == limit {
            // The one more than asked for: the part it lies in goes on.
            if let Some(Page { lease, cursor: Cursor::Window { whole, .. }, .. }) = pages.last_mut()
                && lease.part == part
            {
                *whole = false;
            }
            break;
        }
        if pages.last().is_none_or(|page| page.lease.part != part) {
            let Some(lease) = leases.iter().find(|lease| lease.part == part) else { continue };
            let before = Window {
                snapshot: row.try_get("", "lo")?,
                hi: row.try_get("", "old_hi")?,
                last_id: row.try_get("", "old_last_id")?,
            };
            let cursor =
                Cursor::Window { before, hi: row.try_get("", "hi")?, last_id: 0, whole: true };
            pages.push(Page { lease: lease.clone(), events: Vec::new(), cursor });
        }
        if let Some(Page { events, cursor: Cursor::Window { last_id, .. }, .. }) = pages.last_mut()
        {
            let event = row::event(row)?;
            *last_id = event.id;
            events.push(event);
        }
    }
    Ok(pages)
}
