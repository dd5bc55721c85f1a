//! The partitions of the log: ranges of ids, one made ahead, dropped whole once their events are published and older
//! than the replay window.
//!
//! A range is **filled** once the sequence has passed it. Whoever wrote into it took its transaction id before its
//! event's id (the columns' order says so), so that every such transaction id lies below the one that this module
//! takes when it sees the range filled. A cursor whose snapshot began after that has seen, and published, everything
//! in the range that there will ever be: then it need not look there again (`floor`), and when this is so of all
//! cursors, the range may go. No clock has a say in this but for the replay window, and no row is looked at.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, QueryResult};

use super::sql;
use crate::{
    outbox::store::{BATCH, CleanedUp, PARTS},
    sql::begin_write,
    trouble,
};

/// How long a change of the log's partitions may wait for its lock, since writers wait behind it.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '100ms'";
/// The most ids that a partition is made for.
const MOST: i64 = 200_000_000;
/// So many partitions share a replay window.
const PER_WINDOW: i64 = 4;

/// A partition of the log, as the books have it.
struct Range {
    from: i64,
    upto: i64,
    made_id: i64,
    made_at: i64,
    filled_at: Option<i64>,
}

impl Range {
    fn table(&self) -> String {
        table(self.from)
    }
}

/// The partition whose ids begin with `from`.
pub(super) fn table(from: i64) -> String {
    format!("rustok_outbox_{from}")
}

/// Makes the next partition, moves floors, and lets go of what was published before the window: a step of it.
/// `least` is how many ids a partition is made for at least, `now` the time in microseconds.
pub(super) async fn tidy(
    db: &DatabaseConnection,
    window: Duration,
    least: u64,
    now: i64,
) -> Result<CleanedUp, DbErr> {
    let window = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
    let least = i64::try_from(least.max(1)).unwrap_or(MOST).min(MOST);
    mark_filled(db, now).await?;
    step_over_silent_parts(db).await?;
    raise_floors(db).await?;
    let before = now.saturating_sub(window);
    let mut done = CleanedUp::default();
    let ranges = ranges(db).await?;
    // What is written slower than partitions fill goes by the row. First: it needs no right to change tables.
    let open = ranges.iter().filter(|range| range.filled_at.is_none()).map(Range::table);
    for table in open.chain(["rustok_outbox_rest".to_owned()]) {
        done.events += delete_before(db, &table, before).await?;
    }
    for range in ranges.iter().filter(|range| range.filled_at.is_some_and(|at| at < before)) {
        done.partitions += u64::from(drop_if_published(db, range).await?);
    }
    make_ahead(db, window, least, now).await?;
    Ok(done)
}

async fn ranges(db: &impl ConnectionTrait) -> Result<Vec<Range>, DbErr> {
    let select = "SELECT from_id, upto_id, made_id, made_at, filled_at FROM rustok_outbox_range ORDER BY from_id";
    let rows = db.query_all_raw(sql(select, [])).await?;
    rows.iter()
        .map(|row| {
            Ok(Range {
                from: row.try_get("", "from_id")?,
                upto: row.try_get("", "upto_id")?,
                made_id: row.try_get("", "made_id")?,
                made_at: row.try_get("", "made_at")?,
                filled_at: row.try_get("", "filled_at")?,
            })
        })
        .collect()
}

/// The last id that was taken.
async fn last_id(db: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let select = "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END AS id FROM rustok_outbox_id";
    let row = db.query_one_raw(sql(select, [])).await?;
    row.map_or(Ok(0), |row: QueryResult| row.try_get("", "id"))
}

/// Makes a partition if the newest is in use. As long as the quarter of a window takes to write, at the pace at which
/// the last was written.
async fn make_ahead(
    db: &DatabaseConnection,
    window: i64,
    least: i64,
    now: i64,
) -> Result<(), DbErr> {
    let last = last_id(db).await?;
    let newest = ranges(db).await?.pop();
    if newest.as_ref().is_some_and(|range| last < range.from) {
        return Ok(());
    }
    let (from, span) =
        newest.map_or((last + least, least), |newest| plan(&newest, last, window, least, now));
    let upto = from + span;
    let name = table(from);
    let txn = begin_write(db).await?;
    let made = async {
        for statement in [
            LOCK_TIMEOUT.to_owned(),
            // One at a time, whoever else thinks that it is the one that keeps the log.
            "LOCK TABLE rustok_outbox_range IN SHARE ROW EXCLUSIVE MODE".to_owned(),
            // Attached, not created in place: that would wait for every writer.
            format!(
                "CREATE TABLE {name} (LIKE rustok_outbox INCLUDING DEFAULTS INCLUDING INDEXES)"
            ),
            // Whoever migrates the log next must own all of it.
            format!(
                "DO $$ BEGIN EXECUTE (SELECT format('ALTER TABLE {name} OWNER TO %I', pg_get_userbyid(relowner))
                                        FROM pg_class WHERE oid = 'rustok_outbox'::regclass); END $$"
            ),
            format!(
                "ALTER TABLE rustok_outbox ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({upto})"
            ),
        ] {
            txn.execute_unprepared(&statement).await?;
        }
        let insert = "INSERT INTO rustok_outbox_range (from_id, upto_id, made_id, made_at) VALUES (?, ?, ?, ?)";
        let values = [from.into(), upto.into(), last.into(), now.into()];
        txn.execute_raw(sql(insert, values)).await.map(|_| true)
    };
    let made = made.await;
    finish(txn, made).await.map(drop)
}

/// Ends a change of the partitions; `false` if there was none, or its lock was not to be had.
async fn finish(txn: DatabaseTransaction, changed: Result<bool, DbErr>) -> Result<bool, DbErr> {
    match changed {
        Ok(true) => txn.commit().await.map(|()| true),
        Ok(false) => txn.rollback().await.map(|()| false),
        Err(error) => {
            // At once: writers wait behind the locks that it has.
            txn.rollback().await?;
            // Lock not available, in whatever language the server says so.
            if trouble::code(&error).as_deref() == Some("55P03") {
                tracing::debug!(%error, "somebody reads the log: its partitions are seen to later");
                return Ok(false);
            }
            Err(error)
        }
    }
}

/// Where the partition after `newest` begins, and how many ids it is for.
fn plan(newest: &Range, last: i64, window: i64, least: i64, now: i64) -> (i64, i64) {
    let took = u128::try_from(now - newest.made_at).unwrap_or(0).max(1);
    let used = u128::try_from(last - newest.made_id).unwrap_or(0);
    let ids_in = |micros: i64| {
        let ids = used * u128::try_from(micros).unwrap_or(0) / took;
        i64::try_from(ids).unwrap_or(MOST).min(MOST)
    };
    let span = ids_in(window / PER_WINDOW).max(least);
    // Ids on their way to the default partition must not lie in the new one: their writers would be refused.
    let soon = last.saturating_add(ids_in(5_000_000).max(least / 10));
    let from = if newest.upto > soon { newest.upto } else { soon.saturating_add(span) };
    (from, span)
}

async fn mark_filled(db: &DatabaseConnection, now: i64) -> Result<(), DbErr> {
    // In this order: the transaction id is taken after the last id was read.
    let last = last_id(db).await?;
    let update = "UPDATE rustok_outbox_range SET filled_at = ?, filled_xid = pg_current_xact_id()
                   WHERE filled_at IS NULL AND upto_id <= ?";
    db.execute_raw(sql(update, [now.into(), last.into()])).await.map(drop)
}

/// Moves cursors on that have nothing to read and stand before a filled range: the parts without events. `OFFSET 0`
/// keeps it a look-up for each of them.
async fn step_over_silent_parts(db: &DatabaseConnection) -> Result<(), DbErr> {
    let select = "SELECT c.part, c.moved, n.s::text AS now
                    FROM rustok_outbox_cursor c, (SELECT pg_current_snapshot() AS s) n
                   WHERE c.hi IS NULL
                     AND pg_snapshot_xmin(c.snapshot) <= (SELECT MAX(filled_xid) FROM rustok_outbox_range)
                     AND NOT EXISTS (SELECT FROM rustok_outbox e
                                      WHERE e.part = c.part AND e.txid >= pg_snapshot_xmin(c.snapshot)
                                        AND e.id >= c.floor AND NOT pg_visible_in_snapshot(e.txid, c.snapshot)
                                    OFFSET 0)";
    for row in db.query_all_raw(sql(select, [])).await? {
        let (part, moved): (i64, i64) = (row.try_get("", "part")?, row.try_get("", "moved")?);
        let now: String = row.try_get("", "now")?;
        // Only if no lane has moved it since.
        let update = "UPDATE rustok_outbox_cursor SET snapshot = ?::pg_snapshot, moved = moved + 1
                       WHERE part = ? AND moved = ?";
        db.execute_raw(sql(update, [now.into(), part.into(), moved.into()])).await?;
    }
    Ok(())
}

/// Lets cursors begin behind what they have left behind. Those that a lane moves just now are passed over: waiting for
/// one while holding others is a deadlock with a lane that moves both.
async fn raise_floors(db: &DatabaseConnection) -> Result<(), DbErr> {
    let update = "UPDATE rustok_outbox_cursor c SET floor = n.upto_id
                    FROM (SELECT o.part, r.upto_id FROM rustok_outbox_cursor o JOIN rustok_outbox_range r
                              ON r.from_id = (SELECT MAX(from_id) FROM rustok_outbox_range
                                               WHERE filled_xid < pg_snapshot_xmin(o.snapshot))
                           WHERE o.floor < r.upto_id FOR UPDATE OF o SKIP LOCKED) n
                   WHERE c.part = n.part";
    db.execute_unprepared(update).await.map(drop)
}

/// Drops a partition, if all that it holds is published; `false` if not, or if its lock was not to be had.
async fn drop_if_published(db: &DatabaseConnection, range: &Range) -> Result<bool, DbErr> {
    let txn = begin_write(db).await?;
    let delete = "DELETE FROM rustok_outbox_range WHERE from_id = ?
                     AND upto_id <= (SELECT MIN(floor) FROM rustok_outbox_cursor)";
    let dropped = async {
        txn.execute_unprepared(LOCK_TIMEOUT).await?;
        let deleted = txn.execute_raw(sql(delete, [range.from.into()])).await?.rows_affected() == 1;
        if deleted {
            txn.execute_unprepared(&format!("DROP TABLE {}", range.table())).await?;
        }
        Ok(deleted)
    };
    let dropped = dropped.await;
    finish(txn, dropped).await
}

/// Deletes a batch of published events of one partition that were written before `before`.
async fn delete_before(db: &DatabaseConnection, table: &str, before: i64) -> Result<u64, DbErr> {
    // From the oldest rows of each part, few enough that a look which deletes nothing is cheap too.
    let delete = format!(
        "DELETE FROM {table} WHERE ctid = ANY(ARRAY(
             SELECT o.ctid FROM rustok_outbox_cursor c CROSS JOIN LATERAL (
                 SELECT e.ctid, e.txid, e.created_at FROM {table} e
                  WHERE e.part = c.part AND e.txid < pg_snapshot_xmax(c.snapshot)
                  ORDER BY e.txid, e.id LIMIT {}) o
              WHERE o.created_at < ? AND pg_visible_in_snapshot(o.txid, c.snapshot)))",
        BATCH.div_ceil(u64::from(PARTS))
    );
    Ok(db.execute_raw(sql(&delete, [before.into()])).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn newest(upto: i64) -> Range {
        Range { from: 1, upto, made_id: 0, made_at: 0, filled_at: None }
    }

    #[test]
    fn a_partition_is_made_for_a_quarter_of_the_window_at_the_pace_seen() {
        // A thousand in an hour, a window of 24: a quarter of it is six thousand.
        assert_eq!(plan(&newest(1_000_000), 1000, 24 * HOUR, 100, HOUR), (1_000_000, 6000));
        assert_eq!(plan(&newest(1_000_000), 1000, 24 * HOUR, 100_000, HOUR), (1_000_000, 100_000));
        assert_eq!(plan(&newest(1_000_000), 0, 24 * HOUR, 100, HOUR), (1_000_000, 100));
        let flood = plan(&newest(i64::MAX / 4), i64::MAX / 8, 24 * HOUR, 100, 1);
        assert_eq!(flood, (i64::MAX / 4, MOST));
    }

    #[test]
    fn a_partition_that_comes_too_late_begins_well_ahead() {
        let (from, span) = plan(&newest(1000), 5000, 24 * HOUR, 100, HOUR);
        assert!(from > 5000 + span, "{from} {span}");
    }
}
