//! Who may move which cursor: the parts of the log, leased to relays for a time. The same on every database.
//!
//! A relay makes known that it is alive, keeps its fair share of the parts, gives back what is more and takes what
//! is free. Each time a part changes hands its epoch is raised; whatever is done under an older epoch moves no
//! cursor.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Value};

use crate::{
    clock::Clock,
    sql::{self, statement, value_list},
};

/// The right to move the cursor of a part, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) part: i64,
    /// Raised each time the lease changes hands.
    pub(crate) epoch: i64,
    /// When it ends, by this process's clock, unless it is prolonged. Never later than the database sees it.
    pub(crate) until: DateTime<Utc>,
}

impl Lease {
    /// Whether it is the same lease, prolonged or not.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.part == other.part && self.epoch == other.epoch
    }

    fn is_of(&self, row: &Row) -> bool {
        self.part == row.part && self.epoch == row.epoch
    }
}

/// What a relay holds after a look at the leases.
#[derive(Debug)]
pub(crate) struct Renewed {
    pub(crate) leases: Vec<Lease>,
    /// Whether rows were passed over that it should have: to be looked at again soon.
    pub(crate) passed_over: bool,
}

/// A cursor row that is free, or this relay's.
struct Row {
    part: i64,
    epoch: i64,
    mine: bool,
}

/// Prolongs what `owner` holds, takes its fair share of what is free, gives back what is more than that, and
/// returns what it holds now.
///
/// A row that is locked is passed over. One of `owner`'s own may be: a lane is moving its cursor. It is held as it was.
pub(super) async fn renew(
    db: &DatabaseConnection,
    owner: &str,
    trouble: &str,
    held: &[Lease],
    clock: &Clock,
    duration: Duration,
) -> Result<Renewed, DbErr> {
    // Before the database is asked: the lease ends here no later than there.
    let until = clock.now() + duration;
    let txn = sql::begin_write(db).await?;
    let now = sql::now(&txn, clock).await?;
    let lease_until = now + i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    let relays = count_relays(&txn, owner, trouble, now, lease_until).await?;
    let rows = available(&txn, owner, now, sql::skip_locked(txn.get_database_backend())).await?;
    let share = parts(&txn).await?.div_ceil(relays);
    let holds = |row: &Row| held.iter().find(|lease| row.mine && lease.is_of(row));
    let is_held = |row: &&Row| holds(row).is_some();
    let mut locked = available(&txn, owner, now, "").await?;
    locked.retain(|locked| !rows.iter().any(|row| row.part == locked.part));
    let as_it_was: Vec<Lease> = locked.iter().filter_map(holds).cloned().collect();
    let left = share.saturating_sub(as_it_was.len());
    let kept: Vec<&Row> = rows.iter().filter(is_held).take(left).collect();
    let room = left - kept.len();
    let surplus: Vec<i64> = rows.iter().filter(is_held).skip(left).map(|row| row.part).collect();
    let taken: Vec<&Row> = rows.iter().filter(|row| !is_held(row)).take(room).collect();
    let set = "owner = ?, lease_until = ?";
    let to_owner = || vec![owner.into(), lease_until.into()];
    update(&txn, set, to_owner(), kept.iter().map(|row| row.part)).await?;
    let set = "owner = ?, lease_until = ?, epoch = epoch + 1";
    update(&txn, set, to_owner(), taken.iter().map(|row| row.part)).await?;
    update(&txn, "owner = NULL, lease_until = 0", Vec::new(), surplus.into_iter()).await?;
    txn.commit().await?;
    let passed_over = !as_it_was.is_empty() || (taken.len() < room && !locked.is_empty());
    let lease = |part, epoch| Lease { part, epoch, until };
    let mut leases: Vec<Lease> = kept.iter().map(|row| lease(row.part, row.epoch)).collect();
    leases.extend(taken.iter().map(|row| lease(row.part, row.epoch + 1)));
    leases.extend(as_it_was);
    leases.sort_by_key(|lease| lease.part);
    Ok(Renewed { leases, passed_over })
}

/// Gives leases back, so that others need not wait for their end.
pub(super) async fn release(
    db: &DatabaseConnection,
    owner: &str,
    held: &[Lease],
) -> Result<(), DbErr> {
    let txn = sql::begin_write(db).await?;
    let backend = txn.get_database_backend();
    if !held.is_empty() {
        let each = vec!["part = ? AND epoch = ?"; held.len()].join(" OR ");
        let sql = format!(
            "UPDATE rustok_outbox_cursor SET owner = NULL, lease_until = 0
              WHERE owner = ? AND ({each})"
        );
        let pairs = held.iter().flat_map(|lease| [lease.part.into(), lease.epoch.into()]);
        let values: Vec<Value> = std::iter::once(owner.into()).chain(pairs).collect();
        txn.execute_raw(statement(backend, &sql, values)).await?;
    }
    let sql = "DELETE FROM rustok_outbox_relay WHERE owner = ?";
    txn.execute_raw(statement(backend, sql, [owner.into()])).await?;
    txn.commit().await
}

/// Makes known that `owner` is alive and what keeps it from publishing, forgets who is not alive, and counts who is.
async fn count_relays(
    txn: &DatabaseTransaction,
    owner: &str,
    trouble: &str,
    now: i64,
    alive_until: i64,
) -> Result<usize, DbErr> {
    let backend = txn.get_database_backend();
    let sql = match backend {
        DbBackend::MySql => {
            "INSERT INTO rustok_outbox_relay (owner, alive_until, trouble) VALUES (?, ?, ?)
             ON DUPLICATE KEY UPDATE alive_until = VALUES(alive_until), trouble = VALUES(trouble)"
        }
        _ => {
            "INSERT INTO rustok_outbox_relay (owner, alive_until, trouble) VALUES (?, ?, ?)
             ON CONFLICT (owner) DO UPDATE SET alive_until = excluded.alive_until, trouble = excluded.trouble"
        }
    };
    let values = [owner.into(), alive_until.into(), trouble.into()];
    txn.execute_raw(statement(backend, sql, values)).await?;
    let sql = "SELECT owner, alive_until FROM rustok_outbox_relay";
    let mut alive = 0;
    let mut dead: Vec<Value> = Vec::new();
    for row in txn.query_all_raw(statement(backend, sql, [])).await? {
        let owner: String = row.try_get("", "owner")?;
        if row.try_get::<i64>("", "alive_until")? >= now {
            alive += 1;
        } else {
            dead.push(owner.into());
        }
    }
    if !dead.is_empty() {
        // Two relays that forget the same third one would wait for each other: the second passes over it.
        let skip = sql::skip_locked(backend);
        let select = format!(
            "SELECT owner FROM rustok_outbox_relay WHERE owner IN ({}){skip}",
            value_list(dead.len())
        );
        let rows = txn.query_all_raw(statement(backend, &select, dead)).await?;
        for row in rows {
            let owner: String = row.try_get("", "owner")?;
            let sql = "DELETE FROM rustok_outbox_relay WHERE owner = ?";
            txn.execute_raw(statement(backend, sql, [owner.into()])).await?;
        }
    }
    Ok(alive.max(1))
}

/// The parts that are free or `owner`'s. With a `lock`, locked as it says; without one, as they are.
async fn available(
    txn: &DatabaseTransaction,
    owner: &str,
    now: i64,
    lock: &str,
) -> Result<Vec<Row>, DbErr> {
    let backend = txn.get_database_backend();
    let sql = format!(
        "SELECT part, epoch, owner, lease_until FROM rustok_outbox_cursor
          WHERE owner IS NULL OR owner = ? OR lease_until < ? ORDER BY part{lock}"
    );
    let rows = txn.query_all_raw(statement(backend, &sql, [owner.into(), now.into()])).await?;
    rows.iter()
        .map(|row| {
            let holder: Option<String> = row.try_get("", "owner")?;
            let live = row.try_get::<i64>("", "lease_until")? >= now;
            Ok(Row {
                part: row.try_get("", "part")?,
                epoch: row.try_get("", "epoch")?,
                mine: live && holder.as_deref() == Some(owner),
            })
        })
        .collect()
}

async fn parts(txn: &DatabaseTransaction) -> Result<usize, DbErr> {
    let sql = "SELECT COUNT(*) AS parts FROM rustok_outbox_cursor";
    let row = txn.query_one_raw(statement(txn.get_database_backend(), sql, [])).await?;
    let parts: i64 = row.map(|row| row.try_get("", "parts")).transpose()?.unwrap_or(0);
    Ok(usize::try_from(parts).unwrap_or(0))
}

async fn update(
    txn: &DatabaseTransaction,
    set: &str,
    mut values: Vec<Value>,
    parts: impl ExactSizeIterator<Item = i64>,
) -> Result<(), DbErr> {
    if parts.len() == 0 {
        return Ok(());
    }
    let sql = format!(
        "UPDATE rustok_outbox_cursor SET {set} WHERE part IN ({})",
        value_list(parts.len())
    );
    values.extend(parts.map(Value::from));
    txn.execute_raw(statement(txn.get_database_backend(), &sql, values)).await?;
    Ok(())
}

/// Locks a part's cursor if `lease` is live, so that nobody takes it over while `txn` moves it.
pub(in crate::outbox) async fn lock(
    txn: &DatabaseTransaction,
    lease: &Lease,
    now: i64,
) -> Result<bool, DbErr> {
    let backend = txn.get_database_backend();
    let for_update = if backend == DbBackend::Sqlite { "" } else { " FOR UPDATE" };
    let sql = format!(
        "SELECT part FROM rustok_outbox_cursor
          WHERE part = ? AND epoch = ? AND lease_until >= ?{for_update}"
    );
    let values = [lease.part.into(), lease.epoch.into(), now.into()];
    Ok(txn.query_one_raw(statement(backend, &sql, values)).await?.is_some())
}
