//! One seam, one store per database. Picked from the connection.

pub(super) mod lease;
pub(in crate::outbox) mod mysql;
pub(in crate::outbox) mod postgres;
pub(crate) mod row;
mod sqlite;

use std::{sync::Arc, time::Duration};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement,
};
use sea_orm_migration::async_trait::async_trait;

pub(crate) use self::{
    lease::{Lease, Renewed},
    postgres::Hints,
};
use super::{OutboxRecord, PublishError};
use crate::{
    clock::Clock,
    partition,
    sql::{self, insert_if_absent, micros, statement},
};

/// How many parts the log has where several relays can work on it: the most that can at once, and what keys are
/// spread over. Fixed when the tables are created.
pub(crate) const PARTS: u32 = 64;

/// What the bus and the relay ask of a database.
///
/// The log is only ever appended to. It has one or more parts; events of one key lie in one part. What was published
/// is known by a cursor per part; a relay leases parts, and a lease's epoch fences it: nothing done under an older
/// epoch moves a cursor.
#[async_trait]
pub(crate) trait OutboxStore: Send + Sync + 'static {
    /// Appends events in order.
    async fn append(
        &self,
        txn: &DatabaseTransaction,
        records: &[OutboxRecord],
    ) -> Result<(), PublishError>;

    /// Prolongs what `owner` holds, takes its fair share of what is free, gives back what is more than that, and
    /// returns what it holds now. `trouble` is the code of what keeps it from publishing, for operators.
    async fn lease(
        &self,
        db: &DatabaseConnection,
        owner: &str,
        trouble: &str,
        held: &[Lease],
        clock: &Clock,
        duration: Duration,
    ) -> Result<Renewed, DbErr> {
        lease::renew(db, owner, trouble, held, clock, duration).await
    }

    /// Gives leases back, so that others need not wait for their end.
    async fn release(
        &self,
        db: &DatabaseConnection,
        owner: &str,
        held: &[Lease],
    ) -> Result<(), DbErr> {
        lease::release(db, owner, held).await
    }

    /// Committed events of the leased parts, for each part in the order to publish them in. What is returned is durable.
    async fn pages(
        &self,
        db: &DatabaseConnection,
        leases: &[Lease],
        ask: Ask,
    ) -> Result<Look, DbErr>;

    /// Moves cursors past pages that the broker has acknowledged, and returns how many moved. A cursor whose lease
    /// was lost stays: its new holder goes on from there.
    async fn advance(
        &self,
        db: &DatabaseConnection,
        pages: &[Page],
        clock: &Clock,
    ) -> Result<u64, DbErr>;

    /// Lets go of published events that were written longer than `window` ago, a step of it, and makes room for
    /// new ones. `least` is how many events a partition of the log is made for at least.
    async fn clean_up(
        &self,
        db: &DatabaseConnection,
        window: Duration,
        least: u64,
        now: i64,
    ) -> Result<CleanedUp, DbErr>;

    /// What is committed now.
    async fn mark(&self, db: &DatabaseConnection) -> Result<Mark, DbErr>;

    /// How many of the events that were committed at `mark` are not yet published.
    async fn backlog(&self, db: &DatabaseConnection, mark: &Mark) -> Result<u64, DbErr>;

    /// Whether every event that was committed at `mark` is published. Cheaper than a count.
    async fn is_drained(&self, db: &DatabaseConnection, mark: &Mark) -> Result<bool, DbErr>;
}

/// What a look at the leased parts is to find.
#[derive(Debug)]
pub(crate) struct Ask {
    /// The most events.
    pub(crate) limit: u64,
    /// Which part comes first, so that none starves.
    pub(crate) turn: usize,
    /// Whether a page of theirs was cut off the last time: a store may ask another way then.
    pub(crate) cut: bool,
    /// What the last look found out for this one.
    pub(crate) hints: Hints,
}

/// What a look at the leased parts found.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) pages: Vec<Page>,
    /// What it found out for the next one.
    pub(crate) hints: Hints,
    /// Which start of the server answered, where the cursors are good for one cluster only: after another start it may
    /// be another cluster.
    pub(crate) server: Option<i64>,
}

impl From<Vec<Page>> for Look {
    fn from(pages: Vec<Page>) -> Self {
        Self { pages, ..Self::default() }
    }
}

/// Events of one part, read after its cursor.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) lease: Lease,
    pub(crate) events: Vec<StoredEvent>,
    /// Whether these are all that the read saw of the part (on PostgreSQL, of its window), and not cut off by a limit.
    pub(crate) whole: bool,
    pub(crate) cursor: Cursor,
}

/// Where a part's cursor was when a page was read, and where it will be once the page is published.
#[derive(Debug)]
pub(crate) enum Cursor {
    /// A counter.
    Sequence { after: i64, to: i64 },
    /// The rows of a list of what is pending.
    Pending,
    /// A window of a cursor that was `moved` so often when it was read: up to the snapshot `now`, or to the one that
    /// an earlier page of the window began with. It is moved on the start of the `server` that it was read from.
    Window { moved: i64, now: Arc<str>, last_id: i64, server: i64 },
}

/// A committed event.
#[derive(Debug)]
pub(crate) struct StoredEvent {
    pub(crate) id: i64,
    pub(crate) record: OutboxRecord,
}

/// What a clean-up of the log let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CleanedUp {
    /// Published events that were deleted one by one.
    pub events: u64,
    /// Whole partitions of published events that were dropped; their events are not counted.
    pub partitions: u64,
}

/// A moment in the life of an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Everything up to this id.
    Sequence(i64),
    /// Everything visible in this snapshot.
    Snapshot(String),
}

/// The store of a database.
pub(crate) fn of(
    connection: &impl ConnectionTrait,
) -> Result<&'static dyn OutboxStore, Unsupported> {
    match connection.get_database_backend() {
        DbBackend::Sqlite => Ok(&sqlite::SqliteStore),
        DbBackend::Postgres => Ok(&postgres::PostgresStore),
        DbBackend::MySql => Ok(&mysql::MySqlStore),
        _ => Err(Unsupported("this database")),
    }
}

/// A database without an outbox.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("there is no outbox for {0}: use PostgreSQL, MySQL, MariaDB or SQLite")]
pub struct Unsupported(&'static str);

/// Claims a write-once id inside `txn`: `true` if it is new, `false` if the same event has it already.
pub(super) async fn claim_id(
    txn: &DatabaseTransaction,
    record: &OutboxRecord,
) -> Result<bool, PublishError> {
    let backend = txn.get_database_backend();
    let (id, digest) = (record.meta.id.as_uuid(), record.digest());
    let insert = insert_if_absent(backend, "rustok_outbox_once", "event_id, digest, created_at", 1);
    let values = [id.into(), digest.clone().into(), micros(record.meta.occurred_at)];
    if txn.execute_raw(statement(backend, &insert, values)).await?.rows_affected() == 1 {
        return Ok(true);
    }
    // Under REPEATABLE READ a plain read would not see a row that was committed after the snapshot.
    let lock = if backend == DbBackend::MySql { " LOCK IN SHARE MODE" } else { "" };
    let select = format!("SELECT digest FROM rustok_outbox_once WHERE event_id = ?{lock}");
    let row = txn.query_one_raw(statement(backend, &select, [id.into()])).await?;
    let stored: Option<Vec<u8>> = row.map(|row| row.try_get("", "digest")).transpose()?;
    if stored.as_deref() == Some(&digest) {
        Ok(false)
    } else {
        Err(PublishError::Conflict { id: record.meta.id })
    }
}

/// The most rows that one batch deletes.
const BATCH: u64 = 1000;

/// Deletes the events whose ids `select` names, given the time before which they were written.
async fn delete_ids(
    db: &impl ConnectionTrait,
    select: &str,
    before: i64,
) -> Result<CleanedUp, DbErr> {
    let backend = db.get_database_backend();
    let rows = db.query_all_raw(statement(backend, select, [before.into()])).await?;
    let ids = rows.iter().map(|row| row.try_get("", "id")).collect::<Result<Vec<i64>, DbErr>>()?;
    let events = sql::delete_by_id(db, "rustok_outbox", &ids).await?;
    Ok(CleanedUp { events, partitions: 0 })
}

/// `time` less `window`, in microseconds.
fn before(time: i64, window: Duration) -> i64 {
    time.saturating_sub(i64::try_from(window.as_micros()).unwrap_or(i64::MAX))
}

/// The number in the `events` column of a one-row query.
async fn count(db: &DatabaseConnection, statement: Statement) -> Result<u64, DbErr> {
    let row = db
        .query_one_raw(statement)
        .await?
        .ok_or_else(|| DbErr::RecordNotFound("a count has no row".to_owned()))?;
    Ok(row.try_get::<i64>("", "events")?.unsigned_abs())
}

/// The part of an event: that of its key, or of its id if its order does not matter.
fn part(record: &OutboxRecord) -> i64 {
    let key = record.meta.key.as_deref().unwrap_or_else(|| record.meta.id.as_bytes());
    i64::from(partition::of(key, PARTS))
}
