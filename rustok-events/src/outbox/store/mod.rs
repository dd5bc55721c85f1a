//! One seam, one store per database. Picked from the connection.

mod postgres;
mod row;
mod sqlite;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement,
};
use sea_orm_migration::async_trait::async_trait;

use super::{OutboxRecord, PublishError};
use crate::sql::{micros, statement};

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

    /// Appends an event whose id the caller chose, unless the same event is there already.
    async fn append_once(
        &self,
        txn: &DatabaseTransaction,
        record: &OutboxRecord,
    ) -> Result<(), PublishError>;

    /// Prolongs what `owner` holds, takes its fair share of what is free, gives back what is more than that, and
    /// returns what it holds now.
    async fn lease(
        &self,
        db: &DatabaseConnection,
        owner: &str,
        held: &[Lease],
        now: DateTime<Utc>,
        duration: Duration,
    ) -> Result<Vec<Lease>, DbErr>;

    /// Gives leases back, so that others need not wait for their end.
    async fn release(
        &self,
        db: &DatabaseConnection,
        owner: &str,
        held: &[Lease],
    ) -> Result<(), DbErr>;

    /// Up to `limit` committed events of the leased parts, for each part in the order to publish them in. What is
    /// returned is durable. `turn` says which part comes first, so that none starves.
    async fn pages(
        &self,
        db: &DatabaseConnection,
        leases: &[Lease],
        limit: u64,
        turn: usize,
    ) -> Result<Vec<Page>, DbErr>;

    /// Moves cursors past pages that the broker has acknowledged, and returns how many moved. A cursor whose lease
    /// was lost stays: its new holder goes on from there.
    async fn advance(
        &self,
        db: &DatabaseConnection,
        pages: &[Page],
        now: DateTime<Utc>,
    ) -> Result<u64, DbErr>;

    /// What is committed now.
    async fn mark(&self, db: &DatabaseConnection) -> Result<Mark, DbErr>;

    /// How many of the events that were committed at `mark` are not yet published.
    async fn backlog(&self, db: &DatabaseConnection, mark: &Mark) -> Result<u64, DbErr>;
}

/// The right to move the cursor of a part, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) part: i64,
    /// Raised each time the lease changes hands.
    pub(crate) epoch: i64,
    /// When it ends unless it is prolonged.
    pub(crate) until: DateTime<Utc>,
}

impl Lease {
    /// Whether it is the same lease, prolonged or not.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.part == other.part && self.epoch == other.epoch
    }
}

/// Events of one part, read after its cursor.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) lease: Lease,
    pub(crate) events: Vec<StoredEvent>,
    pub(crate) cursor: Cursor,
}

/// Where a part's cursor was when a page was read, and where it will be once the page is published.
#[derive(Debug)]
pub(crate) enum Cursor {
    /// A counter.
    Sequence { after: i64, to: i64 },
    /// A window between two snapshots, `whole` if the page reaches its end.
    Window { before: Window, hi: String, last_id: i64, whole: bool },
}

/// A part's cursor row on PostgreSQL.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) snapshot: String,
    pub(crate) hi: Option<String>,
    pub(crate) last_id: i64,
}

/// A committed event.
#[derive(Debug)]
pub(crate) struct StoredEvent {
    pub(crate) id: i64,
    pub(crate) record: OutboxRecord,
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
        DbBackend::MySql => Err(Unsupported("MySQL")),
        _ => Err(Unsupported("this database")),
    }
}

/// A database without an outbox.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("there is no outbox for {0} yet: use PostgreSQL or SQLite")]
pub struct Unsupported(&'static str);

/// Claims a write-once id inside `txn`: `true` if it is new, `false` if the same event has it already.
async fn claim_id(txn: &DatabaseTransaction, record: &OutboxRecord) -> Result<bool, PublishError> {
    let backend = txn.get_database_backend();
    let (id, digest) = (record.meta.id.as_uuid(), record.digest());
    // Not a plain insert: on PostgreSQL its failure would abort the caller's transaction.
    let insert = "INSERT INTO rustok_outbox_once (event_id, digest, created_at) VALUES (?, ?, ?)
                  ON CONFLICT DO NOTHING";
    let values = [id.into(), digest.clone().into(), micros(record.meta.occurred_at)];
    if txn.execute_raw(statement(backend, insert, values)).await?.rows_affected() == 1 {
        return Ok(true);
    }
    let select = "SELECT digest FROM rustok_outbox_once WHERE event_id = ?";
    let row = txn.query_one_raw(statement(backend, select, [id.into()])).await?;
    let stored: Option<Vec<u8>> = row.map(|row| row.try_get("", "digest")).transpose()?;
    if stored.as_deref() == Some(&digest) {
        Ok(false)
    } else {
        Err(PublishError::Conflict { id: record.meta.id })
    }
}

/// The number in the `events` column of a one-row query.
async fn count(db: &DatabaseConnection, statement: Statement) -> Result<u64, DbErr> {
    let row = db
        .query_one_raw(statement)
        .await?
        .ok_or_else(|| DbErr::RecordNotFound("a count has no row".to_owned()))?;
    Ok(row.try_get::<i64>("", "events")?.unsigned_abs())
}
