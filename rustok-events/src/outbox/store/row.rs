//! An outbox row as SQL values and back, the same on every database.

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
    let headers = serde_json::to_string(&meta.headers)
        .map_err(|error| DbErr::Custom(format!("headers cannot be written: {error}")))?;
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

/// The event of a row that has `id` and [`COLUMNS`].
pub(crate) fn event(row: &QueryResult) -> Result<StoredEvent, DbErr> {
    let headers: String = row.try_get("", "headers")?;
    let partitions: Option<i64> = row.try_get("", "partitions")?;
    Ok(StoredEvent {
        id: row.try_get("", "id")?,
        record: OutboxRecord {
            meta: EventMeta {
                id: EventId::from(row.try_get::<Uuid>("", "event_id")?),
                name: row.try_get("", "name")?,
                version: small(row.try_get("", "version")?)?,
                stream: row.try_get("", "stream")?,
                topic: row.try_get("", "topic")?,
                key: row.try_get("", "partition_key")?,
                tenant_id: row.try_get("", "tenant_id")?,
                actor_id: row.try_get("", "actor_id")?,
                correlation_id: row.try_get("", "correlation_id")?,
                causation_id: row.try_get("", "causation_id")?,
                occurred_at: from_micros(row.try_get("", "occurred_at")?)?,
                content_type: row.try_get("", "content_type")?,
                headers: serde_json::from_str(&headers)
                    .map_err(|error| DbErr::Type(format!("headers cannot be read: {error}")))?,
                attempt: 1,
            },
            partitions: partitions.map(small).transpose()?,
            payload: row.try_get::<Vec<u8>>("", "payload")?.into(),
        },
    })
}

fn small(value: i64) -> Result<u32, DbErr> {
    u32::try_from(value).map_err(|_| DbErr::Type(format!("{value} is out of range")))
}
