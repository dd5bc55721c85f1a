//! A dead letter, as operators see it.

use chrono::{DateTime, Utc};
use sea_orm::{DbErr, QueryResult};
use uuid::Uuid;

use crate::{
    EventId,
    envelope::{EnvelopeError, EventMeta, WireHeaders},
    sql::from_micros,
    transport::TopicName,
};

/// An event that a handler could not handle, as it came.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The dead letter's own number.
    pub id: i64,
    /// The group whose handler failed.
    pub group: String,
    /// The handler; empty for a message that no handler was called with.
    pub handler: String,
    /// The event; `None` for a message that was not readable as one.
    pub event_id: Option<EventId>,
    /// The tenant; `None` for a message that was not readable as an event.
    pub tenant_id: Option<Uuid>,
    /// The partition key's bytes; `None` if the event has none or was not readable.
    pub key: Option<Vec<u8>>,
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

impl DeadLetter {
    /// The envelope.
    ///
    /// # Errors
    /// [`EnvelopeError`] if the headers are not those of an event.
    pub fn envelope(&self) -> Result<EventMeta, EnvelopeError> {
        EventMeta::from_wire(&self.headers)
    }
}

pub(super) fn read(row: &QueryResult) -> Result<DeadLetter, DbErr> {
    let text = |column: &str| row.try_get::<String>("", column);
    let number = |column: &str| row.try_get::<i64>("", column);
    let small = |column: &str| -> Result<u32, DbErr> {
        u32::try_from(number(column)?).map_err(|_| DbErr::Type(format!("{column} is out of range")))
    };
    let time = |column: &str| from_micros(number(column)?);
    let headers: Vec<u8> = row.try_get("", "headers")?;
    let event_id: Option<Uuid> = row.try_get("", "event_id")?;
    Ok(DeadLetter {
        id: number("id")?,
        group: text("group_name")?,
        handler: text("handler")?,
        event_id: event_id.map(EventId::from),
        tenant_id: row.try_get("", "tenant_id")?,
        key: row.try_get("", "partition_key")?,
        topic: TopicName::new(text("stream")?, text("topic")?),
        partition: small("partition_no")?,
        offset: number("partition_offset")?.unsigned_abs(),
        headers: rmp_serde::from_slice(&headers)
            .map_err(|error| DbErr::Type(format!("headers cannot be read: {error}")))?,
        payload: row.try_get("", "payload")?,
        code: text("code")?,
        error: text("error")?,
        attempts: small("attempts")?,
        first_failed_at: time("first_failed_at")?,
        last_failed_at: time("last_failed_at")?,
        parks_key: row.try_get("", "blocks_key")?,
    })
}
