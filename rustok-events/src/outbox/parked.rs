//! Events that the broker refuses for good, and the later events of their keys that wait behind them in order.
//!
//! A key's first row says how the key stands: `refused` stops it until an operator retries or discards that row;
//! `behind` means that the relay may publish the rows in order. Rows are kept here whole, since the log does not
//! keep its own for ever.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, QueryResult, Value};
use uuid::Uuid;

use super::{
    Lease, OutboxRecord, StoredEvent,
    store::{
        lease,
        row::{self, COLUMN_COUNT, COLUMNS},
    },
};
use crate::{
    EventId,
    clock::Clock,
    sql::{self, from_micros, insert_if_absent, micros, statement, value_list},
    transport::TopicName,
};

/// How many rows a statement parks at most.
const ROWS_PER_STATEMENT: usize = 500;
/// How many bytes of theirs, unless the first alone has more: a statement must fit into MySQL's `max_allowed_packet`.
const BYTES_PER_STATEMENT: usize = 1 << 20;

/// What is ordered: a tenant's key on a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ParkedKey {
    pub(crate) part: i64,
    topic: TopicName,
    tenant_id: Uuid,
    key: Vec<u8>,
}

impl ParkedKey {
    /// The key of an event; `None` if its order does not matter.
    pub(crate) fn of(part: i64, record: &OutboxRecord) -> Option<Self> {
        let meta = &record.meta;
        Some(Self {
            part,
            topic: record.topic(),
            tenant_id: meta.tenant_id,
            key: meta.key.clone()?,
        })
    }
}

/// An event to be parked.
#[derive(Debug)]
pub(crate) struct Parked<'e> {
    pub(crate) event: &'e StoredEvent,
    /// What the broker said; `None` for an event that only waits behind another.
    pub(crate) refusal: Option<String>,
}

/// Parks events of one part under its lease; `false` if the lease was lost. Parking an event twice is parking it
/// once, so that a page can be done again after a crash.
pub(crate) async fn park(
    db: &DatabaseConnection,
    held: &Lease,
    events: &[Parked<'_>],
    clock: &Clock,
) -> Result<bool, DbErr> {
    let txn = sql::begin_write(db).await?;
    let now = sql::now(&txn, clock).await?;
    if !lease::lock(&txn, held, now).await? {
        txn.rollback().await?;
        return Ok(false);
    }
    let backend = txn.get_database_backend();
    let columns = format!("part, log_id, state, error, parked_at, {COLUMNS}");
    let mut rest = events;
    // While this goes on nobody can prolong the lease: its row is locked.
    while !rest.is_empty() {
        let (some, others) = rest.split_at(fitting(rest));
        rest = others;
        let insert = insert_if_absent(backend, "rustok_outbox_parked", &columns, some.len());
        let mut values: Vec<Value> = Vec::with_capacity(some.len() * (COLUMN_COUNT + 5));
        for parked in some {
            let (state, error) = match &parked.refusal {
                Some(error) => ("refused", sql::text(error)),
                None => ("behind", String::new()),
            };
            values.extend([held.part.into(), parked.event.id.into(), state.into(), error.into()]);
            values.push(micros(clock.now()));
            values.extend(row::values(&parked.event.record)?);
        }
        txn.execute_raw(statement(backend, &insert, values)).await?;
    }
    txn.commit().await?;
    Ok(true)
}

/// How many of some events go into one statement: one at least.
fn fitting(events: &[Parked<'_>]) -> usize {
    let mut bytes = 0;
    let fits = events.iter().take(ROWS_PER_STATEMENT).take_while(|parked| {
        let error = parked.refusal.as_deref().map_or(0, |error| sql::text(error).len());
        bytes += parked.event.record.payload.len() + error;
        bytes <= BYTES_PER_STATEMENT
    });
    fits.count().max(1)
}

/// The keys of some parts that have parked events, and whether their first may be published.
pub(crate) async fn keys(
    db: &DatabaseConnection,
    parts: impl ExactSizeIterator<Item = i64>,
) -> Result<Vec<(ParkedKey, bool)>, DbErr> {
    let select = format!(
        "SELECT p.part, p.stream, p.topic, p.tenant_id, p.partition_key, p.state
           FROM rustok_outbox_parked p
           JOIN (SELECT MIN(id) AS first FROM rustok_outbox_parked
                  WHERE part IN ({}) AND partition_key IS NOT NULL
                  GROUP BY part, stream, topic, tenant_id, partition_key) f ON f.first = p.id",
        value_list(parts.len())
    );
    let statement = statement(db.get_database_backend(), &select, parts.map(Value::from));
    let rows = db.query_all_raw(statement).await?;
    let text = |row: &QueryResult, column: &str| row.try_get::<String>("", column);
    rows.iter()
        .map(|row| {
            let key = ParkedKey {
                part: row.try_get("", "part")?,
                topic: TopicName::new(text(row, "stream")?, text(row, "topic")?),
                tenant_id: row.try_get("", "tenant_id")?,
                key: row.try_get("", "partition_key")?,
            };
            Ok((key, text(row, "state")? == "behind"))
        })
        .collect()
}

/// The first parked events of a key, in order; their ids are those of their parked rows.
pub(crate) async fn events_of(
    db: &DatabaseConnection,
    key: &ParkedKey,
    limit: u64,
) -> Result<Vec<StoredEvent>, DbErr> {
    let select = format!(
        "SELECT id, {COLUMNS} FROM rustok_outbox_parked
          WHERE part = ? AND stream = ? AND topic = ? AND tenant_id = ? AND partition_key = ?
          ORDER BY id LIMIT {limit}"
    );
    let values = [
        key.part.into(),
        key.topic.stream().into(),
        key.topic.topic().into(),
        key.tenant_id.into(),
        key.key.clone().into(),
    ];
    let found = row::find(db, statement(db.get_database_backend(), &select, values)).await?;
    row::events(&found.rows)
}

/// Whether an operator wants one of the parked events without a key published again; `None` if parts have none.
pub(crate) async fn has_keyless(
    db: &DatabaseConnection,
    parts: impl ExactSizeIterator<Item = i64>,
) -> Result<Option<bool>, DbErr> {
    // `behind` comes before `refused`.
    let select = format!(
        "SELECT MIN(state) AS state FROM rustok_outbox_parked WHERE part IN ({}) AND partition_key IS NULL",
        value_list(parts.len())
    );
    let statement = statement(db.get_database_backend(), &select, parts.map(Value::from));
    let Some(row) = db.query_one_raw(statement).await? else { return Ok(None) };
    Ok(row.try_get::<Option<String>>("", "state")?.map(|state| state == "behind"))
}

/// The events without a key that an operator wants published again.
pub(crate) async fn keyless(
    db: &DatabaseConnection,
    part: i64,
    limit: u64,
) -> Result<Vec<StoredEvent>, DbErr> {
    let select = format!(
        "SELECT id, {COLUMNS} FROM rustok_outbox_parked
          WHERE part = ? AND partition_key IS NULL AND state = 'behind' ORDER BY id LIMIT {limit}"
    );
    let values = [part.into()];
    let found = row::find(db, statement(db.get_database_backend(), &select, values)).await?;
    row::events(&found.rows)
}

/// Takes published rows out under the lease, and notes what the broker said of one that it refused again.
pub(crate) async fn settle(
    db: &DatabaseConnection,
    held: &Lease,
    published: &[i64],
    refused: Option<(i64, String)>,
    clock: &Clock,
) -> Result<bool, DbErr> {
    let txn = sql::begin_write(db).await?;
    let now = sql::now(&txn, clock).await?;
    if !lease::lock(&txn, held, now).await? {
        txn.rollback().await?;
        return Ok(false);
    }
    let backend = txn.get_database_backend();
    sql::delete_by_id(&txn, "rustok_outbox_parked", published).await?;
    if let Some((id, error)) = refused {
        let update = "UPDATE rustok_outbox_parked SET state = 'refused', error = ? WHERE id = ?";
        txn.execute_raw(statement(backend, update, [sql::text(&error).into(), id.into()])).await?;
    }
    txn.commit().await?;
    Ok(true)
}

/// An event that the broker refused for good, or that waits behind one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ParkedEvent {
    /// The row's own number, by which it is retried or discarded.
    pub id: i64,
    /// The event.
    pub event_id: EventId,
    /// The event type.
    pub name: String,
    /// Where it was to go.
    pub topic: TopicName,
    /// Its partition key.
    pub partition_key: Option<Vec<u8>>,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// What the broker said; `None` for an event that waits behind another of its key.
    pub refusal: Option<String>,
    /// When it was parked.
    pub parked_at: DateTime<Utc>,
}

/// All parked events, in the order they will be published in.
///
/// # Errors
/// The database's.
pub async fn parked_events(db: &DatabaseConnection) -> Result<Vec<ParkedEvent>, DbErr> {
    let select = format!(
        "SELECT id, {COLUMNS}, state, error, parked_at FROM rustok_outbox_parked ORDER BY id"
    );
    let rows = db.query_all_raw(statement(db.get_database_backend(), &select, [])).await?;
    let mut reader = row::Reader::default();
    rows.iter()
        .map(|row| {
            let StoredEvent { id, record } = reader.event(row)?;
            let refused = row.try_get::<String>("", "state")? == "refused";
            Ok(ParkedEvent {
                id,
                event_id: record.meta.id,
                name: record.meta.name.to_string(),
                topic: record.topic(),
                partition_key: record.meta.key,
                payload: record.payload.to_vec(),
                refusal: refused.then(|| row.try_get("", "error")).transpose()?,
                parked_at: from_micros(row.try_get("", "parked_at")?)?,
            })
        })
        .collect()
}

/// Lets the relay publish a refused event again, and after it what waits behind it. `false` if there is no refused
/// event of that number.
///
/// # Errors
/// The database's.
pub async fn retry_parked(db: &DatabaseConnection, id: i64) -> Result<bool, DbErr> {
    let update =
        "UPDATE rustok_outbox_parked SET state = 'behind' WHERE id = ? AND state = 'refused'";
    let done = db.execute_raw(statement(db.get_database_backend(), update, [id.into()])).await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a refused event up: it is never published, and what waits behind it goes on. `false` if there is no
/// refused event of that number.
///
/// # Errors
/// The database's.
pub async fn discard_parked(db: &DatabaseConnection, id: i64, reason: &str) -> Result<bool, DbErr> {
    let delete = "DELETE FROM rustok_outbox_parked WHERE id = ? AND state = 'refused'";
    let done = db.execute_raw(statement(db.get_database_backend(), delete, [id.into()])).await?;
    let discarded = done.rows_affected() == 1;
    if discarded {
        tracing::warn!(id, reason, "a refused event was discarded");
    }
    Ok(discarded)
}
