//! An outbox row as SQL values and back, the same on every database.

use std::collections::BTreeMap;

use sea_orm::{DbErr, QueryResult, Value};
use uuid::Uuid;

use super::StoredEvent;
use crate::{
    EventId,
    envelope::EventMeta,
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
        meta.name.clone().into(),
        i64::from(meta.version).into(),
        meta.stream.clone().into(),
        meta.topic.clone().into(),
        record.partitions.map(i64::from).into(),
        meta.key.clone().into(),
        meta.tenant_id.into(),
        meta.actor_id.into(),
        meta.correlation_id.into(),
        meta.causation_id.into(),
        micros(meta.occurred_at),
        meta.content_type.clone().into(),
        headers.into(),
        record.payload.to_vec().into(),
    ])
}

/// The event of a row whose first columns are `id` and [`COLUMNS`]. Columns are taken by their place: looking sixteen
/// names up for each row costs as much as reading them.
pub(crate) fn event(row: &QueryResult) -> Result<StoredEvent, DbErr> {
    let headers: String = row.try_get_by_index(14)?;
    let headers = if headers == NO_HEADERS {
        BTreeMap::new()
    } else {
        serde_json::from_str(&headers)
            .map_err(|error| DbErr::Type(format!("headers cannot be read: {error}")))?
    };
    let partitions: Option<i64> = row.try_get_by_index(6)?;
    Ok(StoredEvent {
        id: row.try_get_by_index(0)?,
        record: OutboxRecord {
            meta: EventMeta {
                id: EventId::from(row.try_get_by_index::<Uuid>(1)?),
                name: row.try_get_by_index(2)?,
                version: small(row.try_get_by_index(3)?)?,
                stream: row.try_get_by_index(4)?,
                topic: row.try_get_by_index(5)?,
                key: row.try_get_by_index(7)?,
                tenant_id: row.try_get_by_index(8)?,
                actor_id: row.try_get_by_index(9)?,
                correlation_id: row.try_get_by_index(10)?,
                causation_id: row.try_get_by_index(11)?,
                occurred_at: from_micros(row.try_get_by_index(12)?)?,
                content_type: row.try_get_by_index(13)?,
                headers,
                attempt: 1,
            },
            partitions: partitions.map(small).transpose()?,
            payload: row.try_get_by_index::<Vec<u8>>(15)?.into(),
        },
    })
}

/// The place of the first column behind those of [`event`].
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

fn small(value: i64) -> Result<u32, DbErr> {
    u32::try_from(value).map_err(|_| DbErr::Type(format!("{value} is out of range")))
}
