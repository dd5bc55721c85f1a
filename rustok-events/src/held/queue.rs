//! Which held events are due, and who tries them: one runtime at a time, by a lease on the row.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, QueryResult, Value,
};
use uuid::Uuid;

use super::{Holder, TenantKey, state};
use crate::{
    sql::{from_micros, micros, statement},
    transport::{IncomingMessage, TopicName},
};

/// A held event whose time has come.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    pub(crate) id: i64,
    pub(crate) group: String,
    pub(crate) topic: TopicName,
}

/// The right to try held events: whose it is, and how long.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) owner: String,
    pub(crate) now: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
}

/// A held event, claimed.
#[derive(Debug, Clone)]
pub(crate) struct HeldEvent {
    pub(crate) id: i64,
    pub(crate) handler: String,
    pub(crate) message: IncomingMessage,
    pub(crate) attempts: u32,
    pub(crate) attempts_left: u32,
    /// The key, if later events of it wait behind this one.
    pub(crate) key: Option<TenantKey>,
}

/// Up to `limit` events that are due at `holders` and that nobody is trying.
pub(crate) async fn due(
    db: &DatabaseConnection,
    holders: &[Holder<'_>],
    now: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<Due>, DbErr> {
    let condition = any_of(holders);
    let sql = format!(
        "SELECT id, group_name, stream, topic FROM rustok_held
          WHERE state = ? AND due_at <= ? AND (lease_until IS NULL OR lease_until <= ?) AND ({condition})
          ORDER BY due_at, id LIMIT {limit}"
    );
    let mut values = vec![state::RETRY.into(), micros(now), micros(now)];
    values.extend(holders.iter().flat_map(Holder::values));
    let rows = db.query_all_raw(statement(db.get_database_backend(), &sql, values)).await?;
    rows.iter()
        .map(|row| {
            let topic = TopicName::new(
                row.try_get::<String>("", "stream")?,
                row.try_get::<String>("", "topic")?,
            );
            Ok(Due { id: row.try_get("", "id")?, group: row.try_get("", "group_name")?, topic })
        })
        .collect()
}

/// When the next event at `holders` is due, tried by somebody or not.
pub(crate) async fn next_due(
    db: &DatabaseConnection,
    holders: &[Holder<'_>],
) -> Result<Option<DateTime<Utc>>, DbErr> {
    let condition = any_of(holders);
    let sql =
        format!("SELECT MIN(due_at) AS due_at FROM rustok_held WHERE state = ? AND ({condition})");
    let mut values = vec![state::RETRY.into()];
    values.extend(holders.iter().flat_map(Holder::values));
    let row = db.query_one_raw(statement(db.get_database_backend(), &sql, values)).await?;
    let due: Option<i64> = row.map(|row| row.try_get("", "due_at")).transpose()?.flatten();
    due.map(from_micros).transpose()
}

fn any_of(holders: &[Holder<'_>]) -> String {
    if holders.is_empty() {
        return "1 = 0".to_owned();
    }
    let one = format!("({})", Holder::CONDITION);
    vec![one; holders.len()].join(" OR ")
}

/// Claims an event; `None` if somebody else has it, or if it is no longer to be tried.
pub(crate) async fn claim(
    db: &DatabaseConnection,
    id: i64,
    claim: &Claim,
) -> Result<Option<HeldEvent>, DbErr> {
    let backend = db.get_database_backend();
    let sql = "UPDATE rustok_held SET lease_owner = ?, lease_until = ?
                WHERE id = ? AND state = ? AND (lease_until IS NULL OR lease_until <= ?)";
    let values = [
        claim.owner.as_str().into(),
        micros(claim.until),
        id.into(),
        state::RETRY.into(),
        micros(claim.now),
    ];
    if db.execute_raw(statement(backend, sql, values)).await?.rows_affected() == 0 {
        return Ok(None);
    }
    claimed(db, id, claim).await
}

/// Reads an event that is claimed.
pub(crate) async fn claimed(
    connection: &impl ConnectionTrait,
    id: i64,
    claim: &Claim,
) -> Result<Option<HeldEvent>, DbErr> {
    let sql = "SELECT * FROM rustok_held WHERE id = ? AND state = ? AND lease_owner = ?";
    let values = [id.into(), state::RETRY.into(), claim.owner.as_str().into()];
    let backend = connection.get_database_backend();
    let row = connection.query_one_raw(statement(backend, sql, values)).await?;
    row.as_ref().map(held_event).transpose()
}

fn held_event(row: &QueryResult) -> Result<HeldEvent, DbErr> {
    let key: Option<Vec<u8>> = row.try_get("", "partition_key")?;
    let tenant: Option<Uuid> = row.try_get("", "tenant_id")?;
    let blocks_key: bool = row.try_get("", "blocks_key")?;
    let headers: Vec<u8> = row.try_get("", "headers")?;
    Ok(HeldEvent {
        id: row.try_get("", "id")?,
        handler: row.try_get("", "handler")?,
        message: IncomingMessage {
            partition: number(row, "partition_no")?,
            offset: row.try_get::<i64>("", "partition_offset")?.unsigned_abs(),
            headers: rmp_serde::from_slice(&headers)
                .map_err(|error| DbErr::Type(format!("headers cannot be read: {error}")))?,
            payload: Bytes::from(row.try_get::<Vec<u8>>("", "payload")?),
        },
        attempts: number(row, "attempts")?,
        attempts_left: number(row, "attempts_left")?,
        key: tenant.zip(key).filter(|_| blocks_key),
    })
}

pub(crate) fn number(row: &QueryResult, column: &str) -> Result<u32, DbErr> {
    u32::try_from(row.try_get::<i64>("", column)?)
        .map_err(|_| DbErr::Type(format!("{column} is out of range")))
}

/// Gives everything back that a claimer has, tried or not.
pub(crate) async fn release_all(db: &DatabaseConnection, claim: &Claim) -> Result<(), DbErr> {
    let sql = "UPDATE rustok_held SET lease_owner = NULL, lease_until = NULL
                WHERE state = ? AND lease_owner = ?";
    let values = [state::RETRY.into(), claim.owner.as_str().into()];
    db.execute_raw(statement(db.get_database_backend(), sql, values)).await?;
    Ok(())
}

/// Finds the first held event of a key, and what state it is in.
async fn first_of(
    connection: &impl ConnectionTrait,
    holder: Holder<'_>,
    key: &TenantKey,
) -> Result<Option<(i64, String)>, DbErr> {
    let select = format!(
        "SELECT id, state FROM rustok_held WHERE {} AND blocks_key = TRUE AND tenant_id = ? AND partition_key = ?
          ORDER BY id LIMIT 1",
        Holder::CONDITION
    );
    let mut values = holder.values();
    values.extend([key.0.into(), key.1.clone().into()]);
    let select = statement(connection.get_database_backend(), &select, values);
    let Some(row) = connection.query_one_raw(select).await? else { return Ok(None) };
    Ok(Some((row.try_get("", "id")?, row.try_get("", "state")?)))
}

/// Keeps the first held event of a key where it is until `txn` ends, so that whoever then ends its wait sees what `txn`
/// held behind it. `false` if there is none any more.
pub(super) async fn lock_first(
    txn: &DatabaseTransaction,
    holder: Holder<'_>,
    key: &TenantKey,
) -> Result<bool, DbErr> {
    let backend = txn.get_database_backend();
    while let Some((first, _)) = first_of(txn, holder, key).await? {
        // Its one writer is `txn`.
        if backend == DbBackend::Sqlite {
            return Ok(true);
        }
        let lock = "SELECT id FROM rustok_held WHERE id = ? AND blocks_key = TRUE FOR UPDATE";
        let lock = statement(backend, lock, [first.into()]);
        if txn.query_one_raw(lock).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the first held event of a key due, if it is one that waits; returns it if so. With a claim, it is the
/// claimer's at once.
pub(crate) async fn promote(
    connection: &impl ConnectionTrait,
    holder: Holder<'_>,
    key: &TenantKey,
    now: DateTime<Utc>,
    claim: Option<&Claim>,
) -> Result<Option<i64>, DbErr> {
    let id = match first_of(connection, holder, key).await? {
        Some((id, state)) if state == state::WAITING => id,
        _ => return Ok(None),
    };
    let sql = "UPDATE rustok_held SET state = ?, due_at = ?, lease_owner = ?, lease_until = ?
                WHERE id = ? AND state = ?";
    let values: [Value; 6] = [
        state::RETRY.into(),
        micros(now),
        claim.map(|claim| claim.owner.clone()).into(),
        claim.map(|claim| claim.until.timestamp_micros()).into(),
        id.into(),
        state::WAITING.into(),
    ];
    let update = statement(connection.get_database_backend(), sql, values);
    let promoted = connection.execute_raw(update).await?.rows_affected();
    Ok((promoted == 1).then_some(id))
}

/// A key at a handler.
pub(crate) type HeldKey = (String, String, TopicName, TenantKey);

/// Keys whose first held event waits for nothing, as where somebody deleted what it waited for.
pub(crate) async fn unpromoted(db: &DatabaseConnection) -> Result<Vec<HeldKey>, DbErr> {
    let sql = "SELECT w.group_name, w.handler, w.stream, w.topic, w.tenant_id, w.partition_key
                 FROM rustok_held w
                WHERE w.state = ? AND w.blocks_key = TRUE
                  AND w.id = (SELECT MIN(h.id) FROM rustok_held h
                               WHERE h.group_name = w.group_name AND h.handler = w.handler
                                 AND h.stream = w.stream AND h.topic = w.topic AND h.blocks_key = TRUE
                                 AND h.tenant_id = w.tenant_id AND h.partition_key = w.partition_key)
                LIMIT 1000";
    let values = [state::WAITING.into()];
    let rows = db.query_all_raw(statement(db.get_database_backend(), sql, values)).await?;
    rows.iter()
        .map(|row| {
            let text = |column: &str| row.try_get::<String>("", column);
            let key = (row.try_get("", "tenant_id")?, row.try_get("", "partition_key")?);
            Ok((
                text("group_name")?,
                text("handler")?,
                TopicName::new(text("stream")?, text("topic")?),
                key,
            ))
        })
        .collect()
}
