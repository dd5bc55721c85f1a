//! The ledgers: what was committed and what was done, in tables without a unique constraint.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement, Value,
};
use uuid::Uuid;

use super::plan::KEYS;
use crate::{
    EventId,
    sql::{statement, value_list},
};

/// An event that was committed: the row lies in the event's own transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenRow {
    pub(super) event_id: Uuid,
    pub(super) topic: String,
    pub(super) key: String,
    /// The version of the key's own row, where the writer had locked it: its order is the order of commits.
    pub(super) version: Option<i64>,
    /// The event that a handler followed up.
    pub(super) cause: Option<Uuid>,
    /// The place within the transaction.
    pub(super) position: i64,
}

/// An effect of a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EffectRow {
    pub(super) group: String,
    pub(super) handler: String,
    pub(super) event_id: Uuid,
}

/// An event that a handler does not go on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldRow {
    pub(super) group: String,
    pub(super) handler: String,
    /// `retry`, `waiting` or `dead`.
    pub(super) state: String,
    pub(super) blocks_key: bool,
    pub(super) key: Option<Vec<u8>>,
    pub(super) event_id: Option<Uuid>,
}

/// Creates the ledgers, unless they are there.
pub(super) async fn create(db: &DatabaseConnection) -> Result<(), DbErr> {
    let id = match db.get_database_backend() {
        DbBackend::Postgres => "BIGSERIAL PRIMARY KEY",
        DbBackend::MySql => "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
        _ => "INTEGER PRIMARY KEY AUTOINCREMENT",
    };
    let tables = [
        format!(
            "CREATE TABLE IF NOT EXISTS harness_written (
                id {id}, event_id CHAR(36) NOT NULL, topic VARCHAR(64) NOT NULL, event_key VARCHAR(64) NOT NULL,
                version BIGINT, cause CHAR(36), position BIGINT NOT NULL)"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS harness_effects (
                id {id}, group_name VARCHAR(64) NOT NULL, handler VARCHAR(64) NOT NULL,
                event_id CHAR(36) NOT NULL)"
        ),
        "CREATE TABLE IF NOT EXISTS harness_keys (
            event_key VARCHAR(64) NOT NULL PRIMARY KEY, version BIGINT NOT NULL)"
            .to_owned(),
    ];
    for table in tables {
        db.execute_unprepared(&table).await?;
    }
    Ok(())
}

/// Empties the ledgers and the crate's own tables, and sets the cursors to where the log now ends.
pub(super) async fn reset(db: &DatabaseConnection) -> Result<(), DbErr> {
    let backend = db.get_database_backend();
    let mut emptied = vec![
        "harness_written",
        "harness_effects",
        "harness_keys",
        "rustok_held",
        "rustok_inbox",
        "rustok_outbox_once",
        "rustok_outbox_relay",
        "rustok_outbox_delayed",
        "rustok_outbox_parked",
        "rustok_outbox",
    ];
    if backend == DbBackend::MySql {
        emptied.push("rustok_outbox_pending");
    }
    for table in emptied {
        db.execute_unprepared(&format!("DELETE FROM {table}")).await?;
    }
    let cursor = match backend {
        DbBackend::Postgres => {
            ", snapshot = pg_current_snapshot(), hi = NULL, last_id = 0, moved = moved + 1"
        }
        DbBackend::MySql => "",
        // `AUTOINCREMENT` counts on.
        _ => ", last_id = 0",
    };
    let free = format!("UPDATE rustok_outbox_cursor SET owner = NULL, lease_until = 0{cursor}");
    db.execute_unprepared(&free).await?;
    for key in KEYS {
        let insert = "INSERT INTO harness_keys (event_key, version) VALUES (?, 0)";
        db.execute_raw(statement(backend, insert, [key.into()])).await?;
    }
    Ok(())
}

pub(super) fn written(backend: DbBackend, row: &WrittenRow) -> Statement {
    let insert = format!(
        "INSERT INTO harness_written (event_id, topic, event_key, version, cause, position) VALUES ({})",
        value_list(6)
    );
    let values: [Value; 6] = [
        row.event_id.to_string().into(),
        row.topic.clone().into(),
        row.key.clone().into(),
        row.version.into(),
        row.cause.map(|cause| cause.to_string()).into(),
        row.position.into(),
    ];
    statement(backend, &insert, values)
}

pub(super) fn effect(backend: DbBackend, group: &str, handler: &str, event: EventId) -> Statement {
    let insert = "INSERT INTO harness_effects (group_name, handler, event_id) VALUES (?, ?, ?)";
    let values = [group.into(), handler.into(), event.as_uuid().to_string().into()];
    statement(backend, insert, values)
}

/// Locks a key's own row and returns its new version.
pub(super) async fn lock_key(txn: &impl ConnectionTrait, key: &str) -> Result<i64, DbErr> {
    let backend = txn.get_database_backend();
    let update = "UPDATE harness_keys SET version = version + 1 WHERE event_key = ?";
    txn.execute_raw(statement(backend, update, [key.into()])).await?;
    let select = "SELECT version FROM harness_keys WHERE event_key = ?";
    let row = txn.query_one_raw(statement(backend, select, [key.into()])).await?;
    row.ok_or_else(|| DbErr::RecordNotFound(key.to_owned()))?.try_get("", "version")
}

/// Everything that was committed, in the order it was written in.
pub(super) async fn all_written(db: &DatabaseConnection) -> Result<Vec<WrittenRow>, DbErr> {
    rows(db, "SELECT * FROM harness_written ORDER BY id", |row| {
        let cause: Option<String> = row.try_get("", "cause")?;
        Ok(WrittenRow {
            event_id: uuid(&row.try_get::<String>("", "event_id")?)?,
            topic: row.try_get("", "topic")?,
            key: row.try_get("", "event_key")?,
            version: row.try_get("", "version")?,
            cause: cause.as_deref().map(uuid).transpose()?,
            position: row.try_get("", "position")?,
        })
    })
    .await
}

/// Everything that was done, in the order it was done in.
pub(super) async fn all_effects(db: &DatabaseConnection) -> Result<Vec<EffectRow>, DbErr> {
    rows(db, "SELECT * FROM harness_effects ORDER BY id", |row| {
        Ok(EffectRow {
            group: row.try_get("", "group_name")?,
            handler: row.try_get("", "handler")?,
            event_id: uuid(&row.try_get::<String>("", "event_id")?)?,
        })
    })
    .await
}

/// Everything that is held, in order.
pub(super) async fn all_held(db: &DatabaseConnection) -> Result<Vec<HeldRow>, DbErr> {
    let select = "SELECT group_name, handler, state, blocks_key, partition_key, event_id FROM rustok_held ORDER BY id";
    rows(db, select, |row| {
        Ok(HeldRow {
            group: row.try_get("", "group_name")?,
            handler: row.try_get("", "handler")?,
            state: row.try_get("", "state")?,
            blocks_key: row.try_get("", "blocks_key")?,
            key: row.try_get("", "partition_key")?,
            event_id: row.try_get("", "event_id")?,
        })
    })
    .await
}

async fn rows<T>(
    db: &DatabaseConnection,
    select: &str,
    read: impl Fn(&QueryResult) -> Result<T, DbErr>,
) -> Result<Vec<T>, DbErr> {
    let statement = statement(db.get_database_backend(), select, []);
    db.query_all_raw(statement).await?.iter().map(read).collect()
}

fn uuid(text: &str) -> Result<Uuid, DbErr> {
    text.parse().map_err(|error| DbErr::Type(format!("`{text}` is no id: {error}")))
}
