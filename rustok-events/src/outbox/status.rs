//! What an operator asks of an outbox: how much waits and since when, who works on it, what is set aside.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement};

use super::{delayed, store};
use crate::{
    clock::Clock,
    sql::{self, from_micros},
};

/// An outbox as it is now. Asked with [`outbox_status`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Committed events that are not yet known to be published.
    pub backlog: u64,
    /// How long the oldest of them has waited since it was written; `None` if nothing waits.
    pub oldest: Option<Duration>,
    /// The parts of the log, by number, each with who works on it.
    pub parts: Vec<PartStatus>,
    /// The relays that made themselves known, alive or not yet forgotten.
    pub relays: Vec<RelayStatus>,
    /// Events that the broker refused for good.
    pub refused: u64,
    /// Events that wait behind a refused one of their key.
    pub parked_behind: u64,
    /// Delayed events that are not in the log yet, since they are not due or nobody has moved them.
    pub delayed: u64,
    /// For how long the first of them has been due; `None` if none is.
    pub overdue: Option<Duration>,
    /// The database's time.
    pub now: DateTime<Utc>,
}

/// A part of the log and its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartStatus {
    /// Its number, from 0.
    pub part: i64,
    /// The relay that holds it or held it last.
    pub owner: Option<String>,
    /// Whether the lease is live.
    pub is_held: bool,
    /// How often the part has changed hands.
    pub epoch: i64,
    /// How many of the waiting events lie in it.
    pub backlog: u64,
}

/// A relay as it made itself known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStatus {
    /// Its name.
    pub owner: String,
    /// Whether it has been heard of within its lease.
    pub is_alive: bool,
    /// The code of what keeps it from publishing, such as `broker_away`; `None` if nothing does.
    pub trouble: Option<String>,
}

/// Looks at the outbox of a database. Counts what waits, so a long backlog takes as long as reading its index.
///
/// # Errors
/// The database's.
pub async fn outbox_status(db: &DatabaseConnection) -> Result<OutboxStatus, DbErr> {
    status(db, &Clock::system()).await
}

/// [`outbox_status`] by a clock that may be moved by hand.
pub(crate) async fn status(db: &DatabaseConnection, clock: &Clock) -> Result<OutboxStatus, DbErr> {
    let now = sql::now(db, clock).await?;
    let mut parts =
        rows(db, "SELECT part, owner, lease_until, epoch FROM rustok_outbox_cursor ORDER BY part")
            .await?
            .iter()
            .map(|row| part(row, now))
            .collect::<Result<Vec<_>, _>>()?;
    let mut oldest: Option<i64> = None;
    for row in rows(db, &waiting(db.get_database_backend())).await? {
        let number: i64 = row.try_get("", "part")?;
        let since: i64 = row.try_get("", "since")?;
        oldest = Some(oldest.map_or(since, |oldest| oldest.min(since)));
        if let Some(part) = parts.iter_mut().find(|part| part.part == number) {
            part.backlog = row.try_get::<i64>("", "events")?.unsigned_abs();
        }
    }
    let relays =
        rows(db, "SELECT owner, alive_until, trouble FROM rustok_outbox_relay ORDER BY owner")
            .await?
            .iter()
            .map(|row| {
                let trouble: String = row.try_get("", "trouble")?;
                Ok(RelayStatus {
                    owner: row.try_get("", "owner")?,
                    is_alive: row.try_get::<i64>("", "alive_until")? >= now,
                    trouble: (!trouble.is_empty()).then_some(trouble),
                })
            })
            .collect::<Result<Vec<_>, DbErr>>()?;
    let time = from_micros(now)?;
    let due = delayed::next_due(db).await?;
    Ok(OutboxStatus {
        backlog: parts.iter().map(|part| part.backlog).sum(),
        oldest: oldest
            .map(|since| Duration::from_micros(now.saturating_sub(since).max(0).unsigned_abs())),
        parts,
        relays,
        refused: count(db, "rustok_outbox_parked WHERE state = 'refused'").await?,
        parked_behind: count(db, "rustok_outbox_parked WHERE state = 'behind'").await?,
        delayed: count(db, "rustok_outbox_delayed").await?,
        overdue: due.and_then(|due| (time - due).to_std().ok()),
        now: time,
    })
}

fn part(row: &QueryResult, now: i64) -> Result<PartStatus, DbErr> {
    let owner: Option<String> = row.try_get("", "owner")?;
    Ok(PartStatus {
        part: row.try_get("", "part")?,
        is_held: owner.is_some() && row.try_get::<i64>("", "lease_until")? >= now,
        owner,
        epoch: row.try_get("", "epoch")?,
        backlog: 0,
    })
}

/// The waiting events by part, and when the oldest was written.
fn waiting(backend: DbBackend) -> String {
    let (part, from) = match backend {
        DbBackend::Postgres => ("c.part", store::postgres::WAITING),
        DbBackend::MySql => {
            ("p.part", "FROM rustok_outbox_pending p JOIN rustok_outbox o ON o.id = p.id")
        }
        _ => ("c.part", "FROM rustok_outbox_cursor c JOIN rustok_outbox o ON o.id > c.last_id"),
    };
    format!("SELECT {part}, COUNT(*) AS events, MIN(o.created_at) AS since {from} GROUP BY {part}")
}

async fn rows(db: &DatabaseConnection, sql: &str) -> Result<Vec<QueryResult>, DbErr> {
    db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await
}

async fn count(db: &DatabaseConnection, of: &str) -> Result<u64, DbErr> {
    let rows = rows(db, &format!("SELECT COUNT(*) AS events FROM {of}")).await?;
    let count: Option<i64> = rows.first().map(|row| row.try_get("", "events")).transpose()?;
    Ok(count.unwrap_or(0).unsigned_abs())
}
