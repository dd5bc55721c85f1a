//! An outbox row as SQL values and back, the same on every database.

use std::collections::BTreeMap;

use bytes::Bytes;
use sea_orm::{
    DbErr, QueryResult, Value,
    sqlx::{self, ColumnIndex, Decode, Row, Type},
};
use uuid::Uuid;

use super::StoredEvent;
use crate::{
    EventId,
    envelope::{EventMeta, Texts},
    outbox::OutboxRecord,
    sql::{from_micros, micros},
};

pub(crate) const COLUMNS: &str = "event_id, name, version, stream, topic, partitions, partition_key, tenant_id, \
                                  actor_id, correlation_id, causation_id, occurred_at, content_type, headers, payload";
pub(in crate::outbox) const COLUMN_COUNT: usize = 15;

/// The values of [`COLUMNS`].
pub(in crate::outbox) fn values(record: &OutboxRecord) -> Result<[Value; COLUMN_COUNT], DbErr> {
    let meta = &record.meta;
    let headers = headers(meta)?;
    Ok([
        meta.id.as_uuid().into(),
        meta.name.to_string().into(),
        i64::from(meta.version).into(),
        meta.stream.to_string().into(),
        meta.topic.to_string().into(),
        record.partitions.map(i64::from).into(),
        meta.key.clone().into(),
        meta.tenant_id.into(),
        meta.actor_id.into(),
        meta.correlation_id.into(),
        meta.causation_id.into(),
        micros(meta.occurred_at),
        meta.content_type.to_string().into(),
        headers.into(),
        record.payload.to_vec().into(),
    ])
}

/// Reads the events of rows.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    texts: Texts,
}

impl Reader {
    /// The event of a row whose first columns are `id` and [`COLUMNS`].
    pub(crate) fn event(&mut self, row: &QueryResult) -> Result<StoredEvent, DbErr> {
        if let Some(row) = row.try_as_pg_row() {
            self.read(row)
        } else if let Some(row) = row.try_as_sqlite_row() {
            self.read(row)
        } else if let Some(row) = row.try_as_mysql_row() {
            self.read(row)
        } else {
            Err(DbErr::Type("the row is of no database with an outbox".to_owned()))
        }
    }

    /// Reads the driver's own row: texts are looked at where they are, and only what stays is copied. Columns are taken by
    /// their place: looking sixteen names up for each row costs as much as reading them.
    fn read<'r, R: Row>(&mut self, row: &'r R) -> Result<StoredEvent, DbErr>
    where
        usize: ColumnIndex<R>,
        i64: Decode<'r, R::Database> + Type<R::Database>,
        Uuid: Decode<'r, R::Database> + Type<R::Database>,
        &'r str: Decode<'r, R::Database> + Type<R::Database>,
        &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    {
        let unreadable =
            |error: sqlx::Error| DbErr::Type(format!("an event cannot be read: {error}"));
        let number = |place| row.try_get::<i64, _>(place).map_err(unreadable);
        let id = |place| row.try_get::<Uuid, _>(place).map_err(unreadable);
        let optional_id = |place| row.try_get::<Option<Uuid>, _>(place).map_err(unreadable);
        let text = |place| row.try_get::<&str, _>(place).map_err(unreadable);
        let key = row.try_get::<Option<&[u8]>, _>(7).map_err(unreadable)?;
        let partitions = row.try_get::<Option<i64>, _>(6).map_err(unreadable)?;
        let payload = row.try_get::<&[u8], _>(15).map_err(unreadable)?;
        Ok(StoredEvent {
            id: number(0)?,
            record: OutboxRecord {
                meta: EventMeta {
                    id: EventId::from(id(1)?),
                    name: self.texts.keep(text(2)?),
                    version: small(number(3)?)?,
                    stream: self.texts.keep(text(4)?),
                    topic: self.texts.keep(text(5)?),
                    key: key.map(<[u8]>::to_vec),
                    tenant_id: id(8)?,
                    actor_id: optional_id(9)?,
                    correlation_id: id(10)?,
                    causation_id: optional_id(11)?,
                    occurred_at: from_micros(number(12)?)?,
                    content_type: self.texts.keep(text(13)?),
                    headers: read_headers(text(14)?)?,
                    attempt: 1,
                },
                partitions: partitions.map(small).transpose()?,
                payload: Bytes::copy_from_slice(payload),
            },
        })
    }
}

/// The events of rows whose first columns are `id` and [`COLUMNS`].
pub(crate) fn events(rows: &[QueryResult]) -> Result<Vec<StoredEvent>, DbErr> {
    let mut reader = Reader::default();
    rows.iter().map(|row| reader.event(row)).collect()
}

/// The place of the first column behind an event's.
pub(super) const AFTER: usize = COLUMN_COUNT + 1;

/// An event without headers of its own.
const NO_HEADERS: &str = "{}";

/// Headers as they are stored.
pub(super) fn headers(meta: &EventMeta) -> Result<String, DbErr> {
    if meta.headers.is_empty() {
        return Ok(NO_HEADERS.to_owned());
    }
    serde_json::to_string(&meta.headers)
        .map_err(|error| DbErr::Custom(format!("headers cannot be written: {error}")))
}

fn read_headers(stored: &str) -> Result<BTreeMap<String, String>, DbErr> {
    if stored == NO_HEADERS {
        return Ok(BTreeMap::new());
    }
    serde_json::from_str(stored)
        .map_err(|error| DbErr::Type(format!("headers cannot be read: {error}")))
}

fn small(value: i64) -> Result<u32, DbErr> {
    u32::try_from(value).map_err(|_| DbErr::Type(format!("{value} is out of range")))
}
