//! PostgreSQL: an insert-only log read through snapshot windows, its parts leased to any number of relays.
//!
//! A window is what the current snapshot sees and the part's last snapshot did not, in `id` order. If one event was
//! committed before another was published, every snapshot that sees the second sees the first, so no window can
//! put them in the wrong order; ids alone, or transaction ids, could. A long transaction delays only its own
//! events.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, QueryResult,
    Statement, TransactionTrait, Value,
};
use sea_orm_migration::async_trait::async_trait;

use super::{
    Cursor, Lease, Mark, OutboxStore, Page, Window,
    row::{self, COLUMN_COUNT, COLUMNS},
};
use crate::{
    outbox::{OutboxRecord, PublishError},
    partition,
    sql::{micros, statement, value_list, value_rows},
};

/// How many parts the log has: the most relays that can work at once, and what keys are spread over.
pub(crate) const PARTS: u32 = 64;
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
                values.push(part(record).into());
                values.extend(row::values(record)?);
            }
            txn.execute_raw(sql(&insert, values)).await?;
        }
        Ok(())
    }

    async fn append_once(
        &self,
        txn: &DatabaseTransaction,
        record: &OutboxRecord,
    ) -> Result<(), PublishError> {
        if super::claim_id(txn, record).await? {
            self.append(txn, std::slice::from_ref(record)).await?;
        }
        Ok(())
    }

    async fn lease(
        &self,
        db: &DatabaseConnection,
        owner: &str,
        held: &[Lease],
        now: DateTime<Utc>,
        duration: Duration,
    ) -> Result<Vec<Lease>, DbErr> {
        let until = now + duration;
        let txn = db.begin().await?;
        let share = fair_share(&txn, owner, now, until).await?;
        let kept = renew(&txn, owner, held, now, until).await?;
        let (kept, surplus) = kept.split_at(kept.len().min(share));
        give_back(&txn, owner, surplus).await?;
        let mut leases = kept.to_vec();
        if leases.len() < share {
            leases.extend(take(&txn, owner, share - leases.len(), now, until).await?);
        }
        txn.commit().await?;
        leases.sort_by_key(|lease| lease.part);
        Ok(leases)
    }

    async fn release(
        &self,
        db: &DatabaseConnection,
        owner: &str,
        held: &[Lease],
    ) -> Result<(), DbErr> {
        let txn = db.begin().await?;
        give_back(&txn, owner, held).await?;
        let delete = "DELETE FROM rustok_outbox_relay WHERE owner = ?";
        txn.execute_raw(sql(delete, [owner.into()])).await?;
        txn.commit().await
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
        make_durable(db).await?;
        into_pages(&rows, leases, limit)
    }

    async fn advance(
        &self,
        db: &DatabaseConnection,
        pages: &[Page],
        now: DateTime<Utc>,
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
              WHERE c.part = d.part AND c.epoch = d.epoch AND c.lease_until >= ?
                AND c.snapshot::text = d.old_snapshot AND c.hi::text IS NOT DISTINCT FROM d.old_hi
                AND c.last_id = d.old_last_id",
            vec![one; rows].join(", ")
        );
        values.push(micros(now));
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
        let select = "SELECT COUNT(*) AS events
                        FROM rustok_outbox_cursor c
                        JOIN rustok_outbox o ON o.part = c.part AND o.txid >= pg_snapshot_xmin(c.snapshot)
                       WHERE pg_visible_in_snapshot(o.txid, ?::pg_snapshot)
                         AND NOT pg_visible_in_snapshot(o.txid, c.snapshot)
                         AND NOT (c.hi IS NOT NULL AND o.id <= c.last_id AND pg_visible_in_snapshot(o.txid, c.hi))";
        super::count(db, sql(select, [snapshot.clone().into()])).await
    }
}

/// The part of an event: that of its key, or of its id if its order does not matter.
fn part(record: &OutboxRecord) -> i16 {
    let key = record.meta.key.as_deref().unwrap_or_else(|| record.meta.id.as_bytes());
    i16::try_from(partition::of(key, PARTS)).unwrap_or(0)
}

/// Makes known that `owner` is alive, and returns how many parts are its share.
async fn fair_share(
    txn: &DatabaseTransaction,
    owner: &str,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<usize, DbErr> {
    let upsert = "INSERT INTO rustok_outbox_relay (owner, alive_until) VALUES (?, ?)
                  ON CONFLICT (owner) DO UPDATE SET alive_until = excluded.alive_until";
    txn.execute_raw(sql(upsert, [owner.into(), micros(until)])).await?;
    let delete = "DELETE FROM rustok_outbox_relay WHERE owner IN
                  (SELECT owner FROM rustok_outbox_relay WHERE alive_until < ? FOR UPDATE SKIP LOCKED)";
    txn.execute_raw(sql(delete, [micros(now)])).await?;
    let select = "SELECT GREATEST(COUNT(*), 1) AS relays FROM rustok_outbox_relay";
    let row = txn.query_one_raw(sql(select, [])).await?;
    let relays: i64 = row.map(|row| row.try_get("", "relays")).transpose()?.unwrap_or(1);
    let parts = usize::try_from(PARTS).unwrap_or(usize::MAX);
    Ok(parts.div_ceil(usize::try_from(relays).unwrap_or(1)))
}

/// Prolongs leases; those that another relay has taken are left out.
async fn renew(
    txn: &DatabaseTransaction,
    owner: &str,
    held: &[Lease],
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Lease>, DbErr> {
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let update = format!(
        "UPDATE rustok_outbox_cursor SET lease_until = ?
          WHERE owner = ? AND lease_until >= ? AND (part, epoch) IN ({})
        RETURNING part, epoch",
        vec!["(?, ?)"; held.len()].join(", ")
    );
    let mut values = vec![micros(until), owner.into(), micros(now)];
    values.extend(held.iter().flat_map(|lease| [lease.part.into(), lease.epoch.into()]));
    leases(&txn.query_all_raw(sql(&update, values)).await?, until)
}

async fn give_back(txn: &DatabaseTransaction, owner: &str, surplus: &[Lease]) -> Result<(), DbErr> {
    if surplus.is_empty() {
        return Ok(());
    }
    let update = format!(
        "UPDATE rustok_outbox_cursor SET owner = NULL, lease_until = 0
          WHERE owner = ? AND part IN ({})",
        value_list(surplus.len())
    );
    let mut values: Vec<Value> = vec![owner.into()];
    values.extend(surplus.iter().map(|lease| Value::from(lease.part)));
    txn.execute_raw(sql(&update, values)).await?;
    Ok(())
}

async fn take(
    txn: &DatabaseTransaction,
    owner: &str,
    share: usize,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Lease>, DbErr> {
    let update = "UPDATE rustok_outbox_cursor SET owner = ?, lease_until = ?, epoch = epoch + 1
                   WHERE part IN (SELECT part FROM rustok_outbox_cursor
                                   WHERE owner IS NULL OR lease_until < ?
                                   ORDER BY part LIMIT ? FOR UPDATE SKIP LOCKED)
               RETURNING part, epoch";
    let share = i64::try_from(share).unwrap_or(i64::MAX);
    let values = [owner.into(), micros(until), micros(now), share.into()];
    leases(&txn.query_all_raw(sql(update, values)).await?, until)
}

fn leases(rows: &[QueryResult], until: DateTime<Utc>) -> Result<Vec<Lease>, DbErr> {
    rows.iter()
        .map(|row| {
            Ok(Lease { part: row.try_get("", "part")?, epoch: row.try_get("", "epoch")?, until })
        })
        .collect()
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
                c.last_id AS old_last_id, o.id, {}
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

/// Makes everything that is committed durable. With `synchronous_commit = off` the server could otherwise forget a
/// transaction whose event is already at the broker; one synchronous commit flushes all that came before it.
async fn make_durable(db: &DatabaseConnection) -> Result<(), DbErr> {
    let txn = db.begin().await?;
    txn.execute_unprepared("SET LOCAL synchronous_commit = on").await?;
    txn.execute_unprepared("UPDATE rustok_outbox_flush SET flushes = flushes + 1").await?;
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
