//! What was published, read from the outbox: committed, whether the relay has taken it yet or not.

use sea_orm::{ConnectionTrait, DatabaseConnection};

use super::TestError;
use crate::{
    Codec, DomainEvent, Envelope, EventId,
    codec::EncodedPayload,
    outbox::{
        StoredEvent,
        store::row::{self, COLUMNS},
    },
    sql::statement,
};

/// All committed events of a type, in the order they were written in.
pub(super) async fn published<E: DomainEvent>(
    db: &DatabaseConnection,
) -> Result<Vec<Envelope<E>>, TestError> {
    let sql = format!(
        "SELECT id, {COLUMNS} FROM rustok_outbox WHERE stream = ? AND topic = ? ORDER BY id"
    );
    let values = [E::STREAM.into(), E::TOPIC.into()];
    let rows = db.query_all_raw(statement(db.get_database_backend(), &sql, values)).await?;
    let mut envelopes = Vec::new();
    for StoredEvent { record, .. } in row::events(&rows)? {
        if !E::DESCRIPTORS.iter().any(|descriptor| *descriptor.name == *record.meta.name) {
            continue;
        }
        let codec = Codec::from_content_type(&record.meta.content_type).unwrap_or_default();
        let payload = EncodedPayload { codec, bytes: record.payload };
        let event = E::decode_event(&record.meta.name, record.meta.version, &payload)?;
        envelopes.push(Envelope { event, meta: record.meta });
    }
    Ok(envelopes)
}

/// The ids of all committed events.
pub(super) async fn ids(db: &DatabaseConnection) -> Result<Vec<EventId>, TestError> {
    let sql = "SELECT event_id FROM rustok_outbox";
    let rows = db.query_all_raw(statement(db.get_database_backend(), sql, [])).await?;
    let id =
        |row: &sea_orm::QueryResult| Ok(EventId::from(row.try_get::<uuid::Uuid>("", "event_id")?));
    rows.iter().map(id).collect()
}
