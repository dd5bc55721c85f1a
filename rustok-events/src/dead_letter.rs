//! Held events: dead letters, and the later events of their keys that wait behind them in order.
//!
//! A held event is kept with the exact bytes and headers it came with. While a key has one, every later event of
//! the key is held behind it and no other key is touched.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, QueryResult, Statement, Value,
};
use uuid::Uuid;

use crate::{
    EventId,
    envelope::{EventMeta, WireHeaders},
    handler::Failure,
    sql::{from_micros, insert_if_absent, micros, statement},
    transport::{IncomingMessage, TopicName},
};

/// An error text is cut to this many characters, so that no text is too long for its column.
const MAX_ERROR: usize = 4000;

/// Who holds an event: one handler of one group, on one topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub(crate) group: &'a str,
    pub(crate) handler: &'a str,
    pub(crate) topic: &'a TopicName,
}

/// Why an event is held.
#[derive(Debug, Clone)]
pub(crate) enum Reason<'a> {
    /// Its attempts are used up, or none can help.
    Dead { failure: &'a Failure, attempts: u32, first_failed_at: DateTime<Utc>, parks_key: bool },
    /// An earlier event of its key is held.
    Behind,
}

/// A key as held events know it. Tenants never share one.
pub(crate) type TenantKey = (Uuid, Vec<u8>);

/// The key of an event; `None` if its order does not matter.
pub(crate) fn tenant_key(meta: &EventMeta) -> Option<TenantKey> {
    Some((meta.tenant_id, meta.key.clone()?))
}

/// The keys whose events wait at this handler.
pub(crate) async fn parked_keys(
    txn: &DatabaseTransaction,
    holder: Holder<'_>,
) -> Result<HashSet<TenantKey>, DbErr> {
    let sql = "SELECT DISTINCT tenant_id, partition_key FROM rustok_held
                WHERE group_name = ? AND stream = ? AND topic = ? AND handler = ? AND blocks_key = TRUE";
    let values = [
        holder.group.into(),
        holder.topic.stream().into(),
        holder.topic.topic().into(),
        holder.handler.into(),
    ];
    let rows = txn.query_all_raw(statement(txn.get_database_backend(), sql, values)).await?;
    rows.iter()
        .map(|row| Ok((row.try_get("", "tenant_id")?, row.try_get("", "partition_key")?)))
        .collect()
}

/// Holds a message. One that is held already stays as it is.
pub(crate) async fn hold(
    txn: &DatabaseTransaction,
    holder: Holder<'_>,
    message: &IncomingMessage,
    meta: Option<&EventMeta>,
    reason: &Reason<'_>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let statement =
        insert_statement(txn.get_database_backend(), holder, message, meta, reason, now)?;
    txn.execute_raw(statement).await?;
    Ok(())
}

fn insert_statement(
    backend: sea_orm::DbBackend,
    holder: Holder<'_>,
    message: &IncomingMessage,
    meta: Option<&EventMeta>,
    reason: &Reason<'_>,
    now: DateTime<Utc>,
) -> Result<Statement, DbErr> {
    let headers = rmp_serde::to_vec(&message.headers)
        .map_err(|error| DbErr::Custom(format!("headers cannot be written: {error}")))?;
    let key = meta.and_then(tenant_key);
    let (state, blocks_key, code, error, attempts, first_failed_at, last_failed_at) = match reason {
        Reason::Dead { failure, attempts, first_failed_at, parks_key } => (
            "dead",
            *parks_key && key.is_some(),
            failure.code,
            failure.error.chars().take(MAX_ERROR).collect(),
            *attempts,
            micros(*first_failed_at),
            micros(now),
        ),
        Reason::Behind => {
            ("waiting", true, "", String::new(), 0, Value::BigInt(None), Value::BigInt(None))
        }
    };
    let values: [Value; 19] = [
        holder.group.into(),
        holder.handler.into(),
        state.into(),
        blocks_key.into(),
        key.as_ref().map(|(tenant, _)| *tenant).into(),
        holder.topic.stream().into(),
        holder.topic.topic().into(),
        key.map(|(_, key)| key).into(),
        i64::from(message.partition).into(),
        i64::try_from(message.offset).unwrap_or(i64::MAX).into(),
        meta.map(|meta| meta.id.as_uuid()).into(),
        headers.into(),
        message.payload.to_vec().into(),
        code.into(),
        error.into(),
        i64::from(attempts).into(),
        first_failed_at,
        last_failed_at,
        micros(now),
    ];
    let columns = "group_name, handler, state, blocks_key, tenant_id, stream, topic, partition_key, \
                   partition_no, partition_offset, event_id, headers, payload, code, error, attempts, \
                   first_failed_at, last_failed_at, held_at";
    let sql = insert_if_absent(backend, "rustok_held", columns, 1);
    Ok(statement(backend, &sql, values))
}

/// An event that a handler could not handle, as it came.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The dead letter's own number.
    pub id: i64,
    /// The group whose handler failed.
    pub group: String,
    /// The handler; empty for a message that was not even readable as an event.
    pub handler: String,
    /// The event; `None` for a message that was not readable as one.
    pub event_id: Option<EventId>,
    /// The topic it came from.
    pub topic: TopicName,
    /// The partition it came from.
    pub partition: u32,
    /// Its place on the partition.
    pub offset: u64,
    /// Its headers, as they came.
    pub headers: WireHeaders,
    /// Its bytes, as they came.
    pub payload: Vec<u8>,
    /// Why, as a short and stable code.
    pub code: String,
    /// Why, as the error and its causes said it, cut to 4,000 characters.
    pub error: String,
    /// How often the handler was called.
    pub attempts: u32,
    /// When it failed first.
    pub first_failed_at: DateTime<Utc>,
    /// When it failed last.
    pub last_failed_at: DateTime<Utc>,
    /// Whether later events of its key wait behind it.
    pub parks_key: bool,
}

/// All dead letters, oldest first.
///
/// # Errors
/// The database's.
pub async fn dead_letters(db: &DatabaseConnection) -> Result<Vec<DeadLetter>, DbErr> {
    let sql = "SELECT * FROM rustok_held WHERE state = 'dead' ORDER BY id";
    let rows = db.query_all_raw(statement(db.get_database_backend(), sql, [])).await?;
    rows.iter().map(dead_letter).collect()
}

fn dead_letter(row: &QueryResult) -> Result<DeadLetter, DbErr> {
    let text = |column: &str| row.try_get::<String>("", column);
    let number = |column: &str| row.try_get::<i64>("", column);
    let headers: Vec<u8> = row.try_get("", "headers")?;
    let event_id: Option<Uuid> = row.try_get("", "event_id")?;
    let small = |column: &str| -> Result<u32, DbErr> {
        u32::try_from(number(column)?).map_err(|_| DbErr::Type(format!("{column} is out of range")))
    };
    Ok(DeadLetter {
        id: number("id")?,
        group: text("group_name")?,
        handler: text("handler")?,
        event_id: event_id.map(EventId::from),
        topic: TopicName::new(text("stream")?, text("topic")?),
        partition: small("partition_no")?,
        offset: number("partition_offset")?.unsigned_abs(),
        headers: rmp_serde::from_slice(&headers)
            .map_err(|error| DbErr::Type(format!("headers cannot be read: {error}")))?,
        payload: row.try_get("", "payload")?,
        code: text("code")?,
        error: text("error")?,
        attempts: small("attempts")?,
        first_failed_at: from_micros(number("first_failed_at")?)?,
        last_failed_at: from_micros(number("last_failed_at")?)?,
        parks_key: row.try_get("", "blocks_key")?,
    })
}
