//! An outbox row as SQL values and back, the same on every database.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt as _;
use sea_orm::{
    DatabaseConnection, DbErr, QueryResult, Statement, StreamTrait, Value,
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

/// How many bytes of payload are read at once, whatever number of events was asked for: what is in memory is bounded by
/// this, and by the largest event.
const MOST_BYTES: usize = 16 << 20;

/// What a statement found whose first columns are `id` and [`COLUMNS`].
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) rows: Vec<QueryResult>,
    /// Whether it was cut off for its size. It has two events then at least, and more may follow.
    pub(crate) cut: bool,
}

/// Reads what a statement finds, and what of it is too large for one read not at all.
pub(crate) async fn find(db: &DatabaseConnection, select: Statement) -> Result<Found, DbErr> {
    let mut found = Found::default();
    let mut stream = db.stream_raw(select).await?;
    let (mut events, mut bytes) = (0_u32, 0);
    while !found.cut
        && let Some(row) = stream.try_next().await?
    {
        if let Some(length) = payload_length(&row)? {
            events += 1;
            bytes += length;
        }
        found.rows.push(row);
        found.cut = events > 1 && bytes > MOST_BYTES;
    }
    Ok(found)
}

/// How many bytes of payload a row has; `None` if it is without an event.
fn payload_length(row: &QueryResult) -> Result<Option<usize>, DbErr> {
    fn of<'r, R: Row>(row: &'r R) -> Result<Option<usize>, sqlx::Error>
    where
        usize: ColumnIndex<R>,
        &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    {
        Ok(row.try_get::<Option<&[u8]>, _>(PAYLOAD)?.map(<[u8]>::len))
    }
    if let Some(row) = row.try_as_pg_row() {
        of(row)
    } else if let Some(row) = row.try_as_sqlite_row() {
        of(row)
    } else if let Some(row) = row.try_as_mysql_row() {
        of(row)
    } else {
        return Err(of_no_database());
    }
    .map_err(|error| unreadable(&error))
}

fn of_no_database() -> DbErr {
    DbErr::Type("the row is of no database with an outbox".to_owned())
}

fn unreadable(error: &sqlx::Error) -> DbErr {
    DbErr::Type(format!("an event cannot be read: {error}"))
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
            Err(of_no_database())
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
        let unreadable = |error: sqlx::Error| unreadable(&error);
        let number = |place| row.try_get::<i64, _>(place).map_err(unreadable);
        let id = |place| row.try_get::<Uuid, _>(place).map_err(unreadable);
        let optional_id = |place| row.try_get::<Option<Uuid>, _>(place).map_err(unreadable);
        let text = |place| row.try_get::<&str, _>(place).map_err(unreadable);
        let key = row.try_get::<Option<&[u8]>, _>(7).map_err(unreadable)?;
        let partitions = row.try_get::<Option<i64>, _>(6).map_err(unreadable)?;
        let payload = row.try_get::<&[u8], _>(PAYLOAD).map_err(unreadable)?;
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

/// The place of an event's payload.
const PAYLOAD: usize = COLUMN_COUNT;

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
