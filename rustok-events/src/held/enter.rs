//! How an event comes to be held.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Value};
use twox_hash::XxHash3_128;

use super::{Holder, queue::lock_first, state, tenant_key};
use crate::{
    EventId,
    envelope::{EventMeta, WireHeaders},
    handler::Failure,
    sql::{code, micros, statement, text, value_rows},
    transport::IncomingMessage,
};

/// Why an event is held.
#[derive(Debug, Clone)]
pub(crate) enum Reason<'a> {
    /// It failed and is tried again at a time; its key waits.
    Retry {
        failure: &'a Failure,
        attempts: u32,
        attempts_left: u32,
        first_failed_at: DateTime<Utc>,
        due_at: DateTime<Utc>,
    },
    /// Its attempts are used up, or none can help.
    Dead { failure: &'a Failure, attempts: u32, first_failed_at: DateTime<Utc>, parks_key: bool },
    /// The configuration passes over it and wants a record.
    Skipped { failure: &'a Failure, attempts: u32, first_failed_at: DateTime<Utc> },
    /// An earlier event of its key is held. Should it be no more, this one is due at once.
    Behind { attempts_left: u32 },
}

const COLUMNS: &str = "group_name, handler, state, blocks_key, tenant_id, stream, topic, partition_key, \
                       partition_no, partition_offset, event_id, headers, payload, code, error, attempts, \
                       attempts_left, first_failed_at, last_failed_at, held_at, due_at";

/// Holds a message. The caller has claimed it in the inbox, in the same transaction, so that it is held once. One that
/// is held behind another may wait for whoever is just ending that one's wait, and keeps others from it until `txn`
/// ends: what is left to do in `txn` should wait for nobody.
pub(crate) async fn hold(
    txn: &DatabaseTransaction,
    holder: Holder<'_>,
    message: &IncomingMessage,
    meta: Option<&EventMeta>,
    reason: &Reason<'_>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let headers = rmp_serde::to_vec(&message.headers)
        .map_err(|error| DbErr::Custom(format!("headers cannot be written: {error}")))?;
    let key = meta.and_then(tenant_key);
    let none = Value::BigInt(None);
    let failed = |first: &DateTime<Utc>| (micros(*first), micros(now));
    let (state, blocks_key, failure, attempts, attempts_left, (first, last), due_at) = match reason
    {
        Reason::Retry { failure, attempts, attempts_left, first_failed_at, due_at } => {
            let failed = failed(first_failed_at);
            (state::RETRY, true, Some(failure), *attempts, *attempts_left, failed, micros(*due_at))
        }
        Reason::Dead { failure, attempts, first_failed_at, parks_key } => {
            let failed = failed(first_failed_at);
            (state::DEAD, *parks_key, Some(failure), *attempts, 0, failed, none)
        }
        Reason::Skipped { failure, attempts, first_failed_at } => {
            let failed = failed(first_failed_at);
            (state::SKIPPED, false, Some(failure), *attempts, 0, failed, micros(now))
        }
        Reason::Behind { attempts_left } => {
            let waits = match &key {
                Some(key) => lock_first(txn, holder, key).await?,
                None => false,
            };
            let (state, due_at) =
                if waits { (state::WAITING, none.clone()) } else { (state::RETRY, micros(now)) };
            (state, true, None, 0, *attempts_left, (none.clone(), none), due_at)
        }
    };
    let values: [Value; 21] = [
        holder.group.into(),
        holder.handler.into(),
        state.into(),
        (blocks_key && key.is_some() && !holder.handler.is_empty()).into(),
        meta.map(|meta| meta.tenant_id).into(),
        holder.topic.stream().into(),
        holder.topic.topic().into(),
        key.map(|(_, key)| key).into(),
        i64::from(message.partition).into(),
        i64::try_from(message.offset).unwrap_or(i64::MAX).into(),
        meta.map(|meta| meta.id.as_uuid()).into(),
        headers.into(),
        message.payload.to_vec().into(),
        failure.map_or_else(String::new, |failure| code(failure.code)).into(),
        failure.map_or_else(String::new, |failure| text(&failure.error)).into(),
        i64::from(attempts).into(),
        i64::from(attempts_left).into(),
        first,
        last,
        micros(now),
        due_at,
    ];
    let sql = format!("INSERT INTO rustok_held ({COLUMNS}) VALUES {}", value_rows(1, 21));
    txn.execute_raw(statement(txn.get_database_backend(), &sql, values)).await?;
    Ok(())
}

/// The id that the inbox knows a message by: its event's, or for a message that is no event one made of what it
/// is and where it lies.
pub(crate) fn message_id(message: &IncomingMessage, meta: Option<&EventMeta>) -> EventId {
    let IncomingMessage { partition, offset, headers, payload, .. } = message;
    meta.map_or_else(|| id_of(*partition, *offset, headers, payload), |meta| meta.id)
}

/// The id of a message that is no event.
pub(crate) fn id_of(partition: u32, offset: u64, headers: &WireHeaders, payload: &[u8]) -> EventId {
    let mut hasher = XxHash3_128::new();
    hasher.write(&partition.to_le_bytes());
    hasher.write(&offset.to_le_bytes());
    for (name, value) in headers.iter() {
        hasher.write(name.as_bytes());
        hasher.write(value);
    }
    hasher.write(payload);
    let mut bytes = hasher.finish_128().to_be_bytes();
    // An event's id begins with its time, and the inbox forgets by both: by when it was recorded alone, with no time here.
    bytes[..6].fill(0);
    EventId::from(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}
