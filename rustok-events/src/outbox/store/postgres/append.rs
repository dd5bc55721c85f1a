//! How events are written: one row as values, many as columns.

use std::sync::LazyLock;

use sea_orm::{DbBackend, DbErr, Statement};

use super::{array, sql};
use crate::{
    outbox::{
        OutboxRecord,
        store::{
            self,
            row::{self, COLUMN_COUNT, COLUMNS},
        },
    },
    sql::{numbered, value_rows},
};

/// Whether two events differ in nothing but what [`columns`] takes from each.
pub(super) fn alike(one: &OutboxRecord, other: &OutboxRecord) -> bool {
    let (a, b) = (&one.meta, &other.meta);
    one.partitions == other.partitions
        && (&a.name, a.version, &a.stream, &a.topic) == (&b.name, b.version, &b.stream, &b.topic)
        && (a.tenant_id, a.actor_id, a.causation_id) == (b.tenant_id, b.actor_id, b.causation_id)
        && a.content_type == b.content_type
}

/// What inserts one event: the text that most transactions need, written once.
static INSERT_ONE: LazyLock<String> = LazyLock::new(|| numbered(&insert(1)));

fn insert(rows: usize) -> String {
    format!(
        "INSERT INTO rustok_outbox (part, {COLUMNS}) VALUES {}",
        value_rows(rows, COLUMN_COUNT + 1)
    )
}

/// Rows of values: for one event, or for events of several kinds.
pub(super) fn rows(records: &[OutboxRecord]) -> Result<Statement, DbErr> {
    let mut values = Vec::with_capacity(records.len() * (COLUMN_COUNT + 1));
    for record in records {
        values.push(store::part(record).into());
        values.extend(row::values(record)?);
    }
    if records.len() == 1 {
        return Ok(Statement::from_sql_and_values(DbBackend::Postgres, &*INSERT_ONE, values));
    }
    Ok(sql(&insert(records.len()), values))
}

/// An array for each column that differs between events, one value for each that does not. The statement is the same
/// for any number of events, so it is prepared once. A key is never empty: an empty one stands for none.
pub(super) fn columns(first: &OutboxRecord, records: &[OutboxRecord]) -> Result<Statement, DbErr> {
    let meta = &first.meta;
    let headers = records.iter().map(|record| row::headers(&record.meta));
    let headers: Vec<String> = headers.collect::<Result<_, _>>()?;
    let each = |column: fn(&OutboxRecord) -> Vec<u8>| array(records.iter().map(column));
    let values = [
        meta.name.to_string().into(),
        i64::from(meta.version).into(),
        meta.stream.to_string().into(),
        meta.topic.to_string().into(),
        first.partitions.map(i64::from).into(),
        meta.tenant_id.into(),
        meta.actor_id.into(),
        meta.causation_id.into(),
        meta.content_type.to_string().into(),
        array(records.iter().map(store::part)),
        array(records.iter().map(|record| record.meta.id.as_uuid())),
        each(|record| record.meta.key.clone().unwrap_or_default()),
        array(records.iter().map(|record| record.meta.correlation_id)),
        array(records.iter().map(|record| record.meta.occurred_at.timestamp_micros())),
        array(headers.into_iter()),
        each(|record| record.payload.to_vec()),
    ];
    Ok(sql(
        "INSERT INTO rustok_outbox
             (name, version, stream, topic, partitions, tenant_id, actor_id, causation_id, content_type,
              part, event_id, partition_key, correlation_id, occurred_at, headers, payload)
         SELECT ?::text, ?::bigint, ?::text, ?::text, ?::bigint, ?::uuid, ?::uuid, ?::uuid, ?::text,
                e.part, e.event_id, NULLIF(e.partition_key, ''), e.correlation_id, e.occurred_at, e.headers,
                e.payload
           FROM unnest(?::bigint[], ?::uuid[], ?::bytea[], ?::uuid[], ?::bigint[], ?::text[], ?::bytea[])
                WITH ORDINALITY
                AS e (part, event_id, partition_key, correlation_id, occurred_at, headers, payload, place)
          ORDER BY e.place",
        values,
    ))
}
