//! MySQL 8 and MariaDB: a log that keeps its rows, and beside it a narrow list of those that are pending.
//!
//! There is no snapshot function to make windows with. A relay reads the pending rows of its parts in `id` order with
//! a fresh snapshot, and deletes them once they are published. Rows that become visible later are picked up later, so
//! nothing is lost; and an event that was committed before another was published has the lower id and is visible
//! whenever the other is, so the order of a key is kept. The ids of Galera's several writers are out of scope.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement, Value,
};
use sea_orm_migration::async_trait::async_trait;

use super::{
    Ask, BATCH, CleanedUp, Cursor, Lease, Look, Mark, OutboxStore, Page, lease,
    row::{self, COLUMN_COUNT, COLUMNS, Found},
};
use crate::{
    clock::Clock,
    outbox::{OutboxRecord, PublishError},
    sql::{self as sql_text, statement, value_list, value_rows},
};

/// MySQL takes 65,535 parameters a statement.
const ROWS_PER_STATEMENT: usize = 2000;

/// The store of MySQL and MariaDB.
#[derive(Debug)]
pub(super) struct MySqlStore;

fn sql(sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    statement(DbBackend::MySql, sql, values)
}

#[async_trait]
impl OutboxStore for MySqlStore {
    async fn append(
        &self,
        txn: &DatabaseTransaction,
        records: &[OutboxRecord],
    ) -> Result<(), PublishError> {
        for chunk in records.chunks(ROWS_PER_STATEMENT) {
            let insert = format!(
                "INSERT INTO rustok_outbox ({COLUMNS}) VALUES {}",
                value_rows(chunk.len(), COLUMN_COUNT)
            );
            let mut values = Vec::with_capacity(chunk.len() * COLUMN_COUNT);
            for record in chunk {
                values.extend(row::values(record)?);
            }
            // The ids of one insert of a known number of rows are consecutive, in every auto-increment lock mode;
            // the answer names the first of them.
            let first = txn.execute_raw(sql(&insert, values)).await?.last_insert_id();
            let first = i64::try_from(first)
                .map_err(|_| DbErr::Type(format!("{first} is out of range")))?;
            let step = if chunk.len() == 1 { 1 } else { auto_increment_step(txn).await? };
            let insert = format!(
                "INSERT INTO rustok_outbox_pending (id, part) VALUES {}",
                value_rows(chunk.len(), 2)
            );
            let ids = (0..).map(|place: i64| first + place * step);
            let values = ids.zip(chunk).flat_map(|(id, record)| [id, super::part(record)]);
            txn.execute_raw(sql(&insert, values.map(Value::from))).await?;
        }
        Ok(())
    }

    async fn pages(
        &self,
        db: &DatabaseConnection,
        leases: &[Lease],
        Ask { limit, turn, .. }: Ask,
    ) -> Result<Look, DbErr> {
        let busy = busy_parts(db, leases).await?;
        if busy.is_empty() {
            return Ok(Look::default());
        }
        let mut limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mine, each, rows) = loop {
            let mine = in_turn(leases, busy.clone(), turn, limit);
            let each = (limit / mine.len()).max(1);
            let Found { rows, cut } = row::find(db, select_of(&mine, each)).await?;
            if !cut {
                break (mine, each, rows);
            }
            // In no order: what was not read may come before what was.
            limit = (rows.len() / 2).max(1);
        };
        let mut pages: HashMap<i64, Page> = HashMap::new();
        let mut reader = row::Reader::default();
        for row in &rows {
            let part: i64 = row.try_get_by_index(row::AFTER)?;
            let Some(lease) = mine.iter().find(|lease| lease.part == part) else { continue };
            let page = pages.entry(part).or_insert_with(|| Page {
                lease: (*lease).clone(),
                events: Vec::new(),
                whole: true,
                cursor: Cursor::Pending,
            });
            page.events.push(reader.event(row)?);
        }
        for page in pages.values_mut() {
            // A join promises no order.
            page.events.sort_by_key(|event| event.id);
            page.whole = page.events.len() < each;
        }
        // The next look begins behind the last page.
        Ok(mine.iter().filter_map(|lease| pages.remove(&lease.part)).collect::<Vec<_>>().into())
    }

    async fn advance(
        &self,
        db: &DatabaseConnection,
        pages: &[Page],
        clock: &Clock,
    ) -> Result<u64, DbErr> {
        let txn = sql_text::begin_write(db).await?;
        let now = sql_text::now(&txn, clock).await?;
        let mut moved = 0;
        let mut published: Vec<(i64, i64)> = Vec::new();
        // In one order, whoever's turn it was: two that lock the same rows would wait for each other.
        let mut in_order: Vec<&Page> = pages.iter().collect();
        in_order.sort_by_key(|page| page.lease.part);
        for page in in_order {
            if lease::lock(&txn, &page.lease, now).await? {
                published.extend(page.events.iter().map(|event| (page.lease.part, event.id)));
                moved += 1;
            }
        }
        unlist(&txn, &published).await?;
        txn.commit().await?;
        Ok(moved)
    }

    async fn clean_up(
        &self,
        db: &DatabaseConnection,
        window: Duration,
        _least: u64,
        now: i64,
    ) -> Result<CleanedUp, DbErr> {
        let txn = sql_text::begin_write(db).await?;
        if !lock_log(&txn, sql_text::skip_locked(DbBackend::MySql)).await? {
            // Events are being listed anew: the next look has more to do.
            txn.rollback().await?;
            return Ok(CleanedUp::default());
        }
        // One read sees an event and its pending row, or neither: below the lowest pending id all is published.
        let select = format!(
            "SELECT id FROM rustok_outbox
              WHERE id < COALESCE((SELECT MIN(id) FROM rustok_outbox_pending), 9223372036854775807)
                AND created_at < ? ORDER BY id LIMIT {BATCH}"
        );
        let before = super::before(now, window);
        let cleaned = loop {
            let cleaned = super::delete_ids(&txn, &select, before).await?;
            if cleaned != CleanedUp::default() || unlist_missing(&txn).await? == 0 {
                break cleaned;
            }
        };
        txn.commit().await?;
        Ok(cleaned)
    }

    async fn mark(&self, db: &DatabaseConnection) -> Result<Mark, DbErr> {
        let select = "SELECT COALESCE(MAX(id), 0) AS id FROM rustok_outbox_pending";
        let row = db.query_one_raw(sql(select, [])).await?;
        let end = row.map(|row| row.try_get("", "id")).transpose()?;
        Ok(Mark::Sequence(end.unwrap_or(0)))
    }

    async fn backlog(&self, db: &DatabaseConnection, mark: &Mark) -> Result<u64, DbErr> {
        let Mark::Sequence(end) = mark else { return Ok(0) };
        let select = "SELECT COUNT(*) AS events FROM rustok_outbox_pending WHERE id <= ?";
        super::count(db, sql(select, [(*end).into()])).await
    }

    async fn is_drained(&self, db: &DatabaseConnection, mark: &Mark) -> Result<bool, DbErr> {
        let Mark::Sequence(end) = mark else { return Ok(true) };
        let select = "SELECT COUNT(*) AS events
                        FROM (SELECT 1 FROM rustok_outbox_pending WHERE id <= ? LIMIT 1) waiting";
        Ok(super::count(db, sql(select, [(*end).into()])).await? == 0)
    }
}

/// The right to delete from the log, or to list again as pending what lies in it, until the end of `txn`: nobody sees
/// what is listed before it is committed, and a deletion beside it would take it for published. The row is one that
/// everybody reads and nobody changes; `lock` says whether it is waited for.
pub(in crate::outbox) async fn lock_log(
    txn: &DatabaseTransaction,
    lock: &str,
) -> Result<bool, DbErr> {
    let select = format!("SELECT name FROM rustok_outbox_meta WHERE name = 'version'{lock}");
    Ok(txn.query_one_raw(sql(&select, [])).await?.is_some())
}

/// Takes events, each by its part and its id, off the list of what is pending.
async fn unlist(txn: &DatabaseTransaction, events: &[(i64, i64)]) -> Result<(), DbErr> {
    // Looked up one by one by their key, and no row beside them: a delete that scans would wait for the rows of
    // other lanes and of open transactions, and some of them for it.
    let delete = "DELETE p
        FROM JSON_TABLE(?, '$[*]' COLUMNS (part BIGINT PATH '$[0]', id BIGINT PATH '$[1]')) AS d
        STRAIGHT_JOIN rustok_outbox_pending p FORCE INDEX (PRIMARY) ON p.part = d.part AND p.id = d.id";
    txn.execute_raw(sql(delete, [sql_text::json(&events)?])).await?;
    Ok(())
}

/// Lists events, each by its part and its id, as pending, those that are not. What is listed already is not touched: its
/// row would be locked, and whoever publishes it takes it off.
pub(in crate::outbox) async fn list(
    txn: &DatabaseTransaction,
    events: &[(i64, i64)],
) -> Result<(), DbErr> {
    let select = "SELECT p.id
        FROM JSON_TABLE(?, '$[*]' COLUMNS (part BIGINT PATH '$[0]', id BIGINT PATH '$[1]')) AS d
        STRAIGHT_JOIN rustok_outbox_pending p FORCE INDEX (PRIMARY) ON p.id = d.id AND p.part = d.part";
    let rows = txn.query_all_raw(sql(select, [sql_text::json(&events)?])).await?;
    let listed: HashSet<i64> =
        rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, DbErr>>()?;
    let new: Vec<(i64, i64)> =
        events.iter().filter(|(_, id)| !listed.contains(id)).copied().collect();
    if new.is_empty() {
        return Ok(());
    }
    let insert = sql_text::insert_if_absent(
        DbBackend::MySql,
        "rustok_outbox_pending",
        "part, id",
        new.len(),
    );
    let values = new.iter().flat_map(|(part, id)| [*part, *id]);
    txn.execute_raw(sql(&insert, values.map(Value::from))).await?;
    Ok(())
}

/// Takes off the list what holds the log up and is not in it, and returns how much: what was listed again and deleted
/// at once, which earlier versions did. It can never be published.
async fn unlist_missing(txn: &DatabaseTransaction) -> Result<usize, DbErr> {
    let select = format!(
        "SELECT p.part, p.id
           FROM (SELECT part, id FROM rustok_outbox_pending ORDER BY id LIMIT {BATCH}) p
           LEFT JOIN rustok_outbox o ON o.id = p.id WHERE o.id IS NULL"
    );
    let rows = txn.query_all_raw(sql(&select, [])).await?;
    let missing = rows
        .iter()
        .map(|row| Ok((row.try_get("", "part")?, row.try_get("", "id")?)))
        .collect::<Result<Vec<_>, DbErr>>()?;
    if !missing.is_empty() {
        unlist(txn, &missing).await?;
    }
    Ok(missing.len())
}

/// How far apart the ids of one insert are.
async fn auto_increment_step(txn: &DatabaseTransaction) -> Result<i64, DbErr> {
    let select = "SELECT CAST(@@auto_increment_increment AS SIGNED) AS step";
    let row = txn
        .query_one_raw(sql(select, []))
        .await?
        .ok_or_else(|| DbErr::RecordNotFound("auto_increment_increment".to_owned()))?;
    row.try_get("", "step")
}

/// Reads up to so many pending events of each part.
fn select_of(parts: &[&Lease], each: usize) -> Statement {
    // The epoch again, in the same read: since the parts were looked at a lease may have been lost, and what its new
    // holder parked or published is no longer pending.
    let one = "(SELECT p.part, p.id FROM rustok_outbox_cursor c JOIN rustok_outbox_pending p ON p.part = c.part
                 WHERE c.part = ? AND c.epoch = ? ORDER BY p.id LIMIT ?)";
    let select = format!(
        "SELECT o.id, {COLUMNS}, p.part
           FROM ({}) p JOIN rustok_outbox o ON o.id = p.id",
        vec![one; parts.len()].join(" UNION ALL ")
    );
    let most = i64::try_from(each).unwrap_or(i64::MAX);
    let values = |lease: &&Lease| [lease.part.into(), lease.epoch.into(), most.into()];
    sql(&select, parts.iter().flat_map(values))
}

/// The leased parts that have something pending.
async fn busy_parts<'l>(
    db: &DatabaseConnection,
    leases: &'l [Lease],
) -> Result<Vec<&'l Lease>, DbErr> {
    let select = format!(
        "SELECT c.part, c.epoch FROM rustok_outbox_cursor c
          WHERE c.part IN ({}) AND EXISTS (SELECT 1 FROM rustok_outbox_pending p WHERE p.part = c.part)",
        value_list(leases.len())
    );
    let rows = db.query_all_raw(sql(&select, leases.iter().map(|lease| lease.part.into()))).await?;
    let epochs = rows
        .iter()
        .map(|row| Ok((row.try_get("", "part")?, row.try_get("", "epoch")?)))
        .collect::<Result<HashMap<i64, i64>, DbErr>>()?;
    Ok(leases.iter().filter(|lease| epochs.get(&lease.part) == Some(&lease.epoch)).collect())
}

/// With more busy parts than there is room for, those whose turn it is: the first behind the lease that `turn` points at,
/// and on from there. Both lists have the order of parts.
fn in_turn<'l>(
    leases: &[Lease],
    mut busy: Vec<&'l Lease>,
    turn: usize,
    room: usize,
) -> Vec<&'l Lease> {
    let first = turn.checked_rem(leases.len()).and_then(|place| leases.get(place));
    let first = first.map(|lease| lease.part);
    let place = busy.iter().position(|lease| Some(lease.part) >= first).unwrap_or(0);
    busy.rotate_left(place);
    busy.truncate(room);
    busy
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    #[test]
    fn each_busy_part_has_its_turn() {
        let lease = |part| Lease { part, epoch: 1, until: DateTime::<Utc>::MAX_UTC };
        let leases: Vec<Lease> = (0..64).map(lease).collect();
        for room in [1, 2, 3, 8] {
            let mut turn = 0;
            let mut seen = Vec::new();
            for _ in 0..6 {
                let busy = [2, 10, 20].map(|part| &leases[part]).to_vec();
                let mine = in_turn(&leases, busy, turn, room);
                seen.extend(mine.iter().map(|lease| lease.part));
                // What a lane does once it has read pages of these.
                let last = mine.last().map(|lease| lease.part);
                turn = leases.iter().position(|lease| Some(lease.part) == last).unwrap() + 1;
            }
            let once_each = [2, 10, 20].into_iter().cycle();
            assert_eq!(seen, once_each.take(seen.len()).collect::<Vec<_>>(), "room for {room}");
        }
        assert!(in_turn(&[], Vec::new(), 3, 1).is_empty());
    }
}
