//! PostgreSQL: an insert-only log read through snapshot windows, its parts leased to any number of relays.
//!
//! A window is what the current snapshot sees and the part's last snapshot did not, in `id` order. If one event was
//! committed before another was published, every snapshot that sees the second sees the first, so no window can
//! put them in the wrong order; ids alone, or transaction ids, could. A long transaction delays only its own
//! events.

mod append;
pub(in crate::outbox) mod ranges;
mod window;

use std::{sync::LazyLock, time::Duration};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement, Value,
    sea_query::ValueType,
};
use sea_orm_migration::async_trait::async_trait;

pub(crate) use self::window::Hints;
use super::{Ask, CleanedUp, Cursor, Lease, Look, Mark, OutboxStore, Page};
use crate::{
    clock::Clock,
    outbox::{OutboxRecord, PublishError},
    sql::statement,
};

/// PostgreSQL takes 65,535 parameters a statement.
const ROWS_PER_STATEMENT: usize = 2000;

/// The PostgreSQL store.
#[derive(Debug)]
pub(super) struct PostgresStore;

fn sql(sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    statement(DbBackend::Postgres, sql, values)
}

/// An array parameter.
fn array<T: Into<Value> + ValueType>(items: impl Iterator<Item = T>) -> Value {
    Value::Array(T::array_type(), Some(Box::new(items.map(Into::into).collect())))
}

#[async_trait]
impl OutboxStore for PostgresStore {
    async fn append(
        &self,
        txn: &DatabaseTransaction,
        records: &[OutboxRecord],
    ) -> Result<(), PublishError> {
        for chunk in records.chunks(ROWS_PER_STATEMENT) {
            let insert = match chunk {
                [first, _, ..] if chunk.iter().all(|record| append::alike(first, record)) => {
                    append::columns(first, chunk)?
                }
                _ => append::rows(chunk)?,
            };
            txn.execute_raw(insert).await?;
        }
        Ok(())
    }

    async fn pages(
        &self,
        db: &DatabaseConnection,
        leases: &[Lease],
        ask: Ask,
    ) -> Result<Look, DbErr> {
        window::pages(db, leases, ask).await
    }

    async fn advance(
        &self,
        db: &DatabaseConnection,
        pages: &[Page],
        clock: &Clock,
    ) -> Result<u64, DbErr> {
        let windows = || {
            pages.iter().filter_map(|page| match &page.cursor {
                Cursor::Window { moved, now, last_id, .. } => {
                    Some((&page.lease, *moved, now, *last_id, page.whole))
                }
                _ => None,
            })
        };
        let server = pages.iter().find_map(|page| match &page.cursor {
            Cursor::Window { server, .. } => Some(*server),
            _ => None,
        });
        let values = [
            manual_now(clock),
            array(windows().map(|(lease, ..)| lease.part)),
            array(windows().map(|(lease, ..)| lease.epoch)),
            array(windows().map(|(_, moved, ..)| moved)),
            array(windows().map(|(_, _, now, ..)| now.to_string())),
            array(windows().map(|(.., last_id, _)| last_id)),
            array(windows().map(|(.., whole)| whole)),
            server.into(),
        ];
        Ok(db.execute_raw(sql(&ADVANCE, values)).await?.rows_affected())
    }

    async fn clean_up(
        &self,
        db: &DatabaseConnection,
        window: Duration,
        least: u64,
        now: i64,
    ) -> Result<CleanedUp, DbErr> {
        ranges::tidy(db, window, least, now).await
    }

    async fn mark(&self, db: &DatabaseConnection) -> Result<Mark, DbErr> {
        let row =
            db.query_one_raw(sql("SELECT pg_current_snapshot()::text AS snapshot", [])).await?;
        let snapshot: Option<String> = row.map(|row| row.try_get("", "snapshot")).transpose()?;
        Ok(Mark::Snapshot(snapshot.unwrap_or_default()))
    }

    async fn backlog(&self, db: &DatabaseConnection, mark: &Mark) -> Result<u64, DbErr> {
        let Mark::Snapshot(snapshot) = mark else { return Ok(0) };
        let select = format!("SELECT COUNT(*) AS events {WAITING} AND {VISIBLE}");
        super::count(db, sql(&select, [snapshot.clone().into()])).await
    }

    async fn is_drained(&self, db: &DatabaseConnection, mark: &Mark) -> Result<bool, DbErr> {
        let Mark::Snapshot(snapshot) = mark else { return Ok(true) };
        let select =
            format!("SELECT COUNT(*) AS events FROM (SELECT 1 {WAITING} AND {VISIBLE} LIMIT 1) w");
        Ok(super::count(db, sql(&select, [snapshot.clone().into()])).await? == 0)
    }
}

/// The committed events that lie behind no cursor, found as windows are read: by look-ups that touch nothing that is
/// retained. A plain join would read all of it.
pub(in crate::outbox) const WAITING: &str = "FROM rustok_outbox_cursor c CROSS JOIN LATERAL (
            SELECT e.id, e.txid, e.created_at FROM rustok_outbox e
             WHERE e.part = c.part AND e.id >= c.floor AND e.txid >= pg_snapshot_xmax(c.snapshot)
             UNION ALL
            SELECT e.* FROM unnest(ARRAY(SELECT pg_snapshot_xip(c.snapshot))) AS x (txid) CROSS JOIN LATERAL (
                SELECT e.id, e.txid, e.created_at FROM rustok_outbox e
                 WHERE e.part = c.part AND e.txid = x.txid AND e.id >= c.floor OFFSET 0) e) o
      WHERE NOT (c.hi IS NOT NULL AND o.id <= c.last_id AND pg_visible_in_snapshot(o.txid, c.hi))";

/// Whether a waiting event is seen in a snapshot.
const VISIBLE: &str = "pg_visible_in_snapshot(o.txid, ?::pg_snapshot)";

/// Which start of the server this is: no two clusters have one in common.
const SERVER: &str = "(EXTRACT(EPOCH FROM pg_postmaster_start_time()) * 1000000)::bigint";

/// A cursor that was moved since its page was read stays: whoever moved it goes on from there. None is moved where the
/// server was started since: it may be another cluster, in which the page's snapshot means nothing.
///
/// Nothing waits until it is flushed: a cursor that a crashed server forgets repeats what was published. What is dropped
/// or given up on the strength of a cursor is written, and flushed, after it.
static ADVANCE: LazyLock<String> = LazyLock::new(|| {
    format!("WITH once AS MATERIALIZED (
            SELECT set_config('synchronous_commit', 'off', true) AS commit,
                   COALESCE(?::bigint, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint) AS now,
                   {SERVER} AS server)
     UPDATE rustok_outbox_cursor c
        SET snapshot = CASE WHEN d.whole THEN COALESCE(c.hi, d.now::pg_snapshot) ELSE c.snapshot END,
            hi = CASE WHEN d.whole THEN NULL ELSE COALESCE(c.hi, d.now::pg_snapshot) END,
            last_id = CASE WHEN d.whole THEN 0 ELSE d.last_id END, moved = c.moved + 1
       FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::text[], ?::bigint[], ?::boolean[])
            AS d (part, epoch, moved, now, last_id, whole), once
      WHERE once.commit = 'off' AND once.server = ? AND c.lease_until >= once.now
        AND c.part = d.part AND c.epoch = d.epoch AND c.moved = d.moved")
});

/// The time in microseconds, if it is that of a clock moved by hand and not the database's.
fn manual_now(clock: &Clock) -> Value {
    Value::BigInt(clock.is_manual().then(|| clock.now().timestamp_micros()))
}
