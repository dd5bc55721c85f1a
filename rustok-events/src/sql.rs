//! Small SQL building blocks that every table of this crate shares.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, Value,
};

use crate::{clock::Clock, trouble};

/// A statement written with `?` for every database.
pub(crate) fn statement(
    backend: DbBackend,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Statement {
    if backend == DbBackend::Postgres {
        Statement::from_sql_and_values(backend, numbered(sql), values)
    } else {
        Statement::from_sql_and_values(backend, sql, values)
    }
}

/// Begins a transaction of the crate's own that is going to write, and that calls nobody else's code.
///
/// PostgreSQL ends it if it waits for its next statement for 15 seconds: a program that goes silent in the middle, with its
/// machine or its network, would keep the rows that it has locked, and others pass over locked rows.
///
/// Cancellation-safe: on a task of its own, since a `BEGIN` whose future is dropped leaves its connection in the pool
/// with the transaction open, and whoever gets the connection next writes into it (sqlx 0.9, issue 4393).
pub(crate) async fn begin_write(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    match db.get_database_backend() {
        DbBackend::Postgres => {
            let txn = begin(db, None).await?;
            // Both in one question to the server.
            let set = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
                       SET LOCAL idle_in_transaction_session_timeout = '15s'";
            txn.execute_unprepared(set).await?;
            Ok(txn)
        }
        DbBackend::MySql => begin(db, Some(IsolationLevel::ReadCommitted)).await,
        _ => begin(db, None).await,
    }
}

/// Rolls a transaction back, also one that SQLite has ended by itself, as for a full disk or `OR ROLLBACK`: the driver
/// counts it as open until a rollback succeeds, and its connection would begin no other.
pub(crate) async fn roll_back(txn: DatabaseTransaction) -> Result<(), DbErr> {
    if txn.get_database_backend() == DbBackend::Sqlite {
        // An error only says that it is still open.
        let _ = txn.execute_unprepared("BEGIN").await;
    }
    txn.rollback().await
}

/// Begins a transaction that is going to write, a handler's too, whose commit returns only once it is durable, whatever
/// the database's or the role's own setting. Cancellation-safe like [`begin_write`].
pub(crate) async fn begin_durable(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let txn = begin_unset(db).await?;
    if txn.get_database_backend() == DbBackend::Postgres {
        // Both in one question to the server.
        let set =
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on";
        txn.execute_unprepared(set).await?;
    }
    Ok(txn)
}

/// Begins a transaction like [`begin_durable`], whose settings on PostgreSQL are left to its first statement, which is
/// to have the condition [`SETTINGS`]: one question to the server fewer.
pub(crate) async fn begin_unset(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    match db.get_database_backend() {
        DbBackend::Postgres => begin(db, None).await,
        _ => begin_write(db).await,
    }
}

/// A condition of a statement of PostgreSQL that is always true, and makes the commit of its transaction durable. Under
/// another isolation level than READ COMMITTED, which by then cannot be changed, the statement fails:
/// [`is_other_isolation`].
pub(crate) const SETTINGS: &str =
    "(SELECT concat(set_config('transaction_isolation', 'read committed', true),
             set_config('synchronous_commit', 'on', true))) IS NOT NULL";

/// What PostgreSQL answers to every statement of a transaction in which one failed.
pub(crate) const ABORTED: &str = "25P02";

/// Whether a statement with the condition [`SETTINGS`] failed since its transaction has another isolation level.
pub(crate) fn is_other_isolation(error: &DbErr) -> bool {
    trouble::code(error).is_some_and(|code| code == "25001")
}

async fn begin(
    db: &DatabaseConnection,
    isolation_level: Option<IsolationLevel>,
) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        isolation_level,
        access_mode: None,
        // A deferred transaction that reads first and writes then fails at once while another one writes.
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
    };
    let db = db.clone();
    let begun = tokio::spawn(async move { db.begin_with_options(options).await });
    begun.await.map_err(|error| DbErr::Custom(format!("a transaction could not begin: {error}")))?
}

/// Complains where the database's settings let a commit return before it is durable: what is published, or acknowledged,
/// on the strength of it could be forgotten when the machine loses its power. On PostgreSQL nothing depends on them.
pub(crate) async fn complain_unless_durable(db: &DatabaseConnection) {
    match forgetful(db).await {
        Ok(Some(setting)) => tracing::warn!(
            setting,
            "a power failure can take back what this database has committed, and with it events that are published or acknowledged"
        ),
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "it cannot be read whether a commit is durable"),
    }
}

/// The setting by which a commit returns before it is durable, and what it is to be; `None` if there is none.
async fn forgetful(db: &DatabaseConnection) -> Result<Option<&'static str>, DbErr> {
    let (select, durable, setting) = match db.get_database_backend() {
        DbBackend::Sqlite => ("PRAGMA synchronous", 2..=3, "PRAGMA synchronous: to be FULL"),
        DbBackend::MySql => (
            "SELECT CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS SIGNED)",
            1..=1,
            "innodb_flush_log_at_trx_commit: to be 1",
        ),
        _ => return Ok(None),
    };
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), select)).await?;
    let value: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?;
    Ok(value.is_some_and(|value| !durable.contains(&value)).then_some(setting))
}

/// The time that leases are measured by, in microseconds: the database's own, so that the clocks of relays need
/// not agree, or that of a clock moved by hand.
pub(crate) async fn now(db: &impl ConnectionTrait, clock: &Clock) -> Result<i64, DbErr> {
    let select = match db.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint AS now"
        }
        DbBackend::MySql => "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED) AS now",
        // SQLite runs on this machine's clock.
        _ => return Ok(clock.now().timestamp_micros()),
    };
    if clock.is_manual() {
        return Ok(clock.now().timestamp_micros());
    }
    let row = db
        .query_one_raw(Statement::from_string(db.get_database_backend(), select))
        .await?
        .ok_or_else(|| DbErr::RecordNotFound("the database's time".to_owned()))?;
    row.try_get("", "now")
}

/// Locks rows on the way and passes over those that are locked. SQLite has one writer and needs neither.
pub(crate) fn skip_locked(backend: DbBackend) -> &'static str {
    if backend == DbBackend::Sqlite { "" } else { " FOR UPDATE SKIP LOCKED" }
}

/// Deletes rows of a table whose primary key is `id`, and returns how many.
///
/// On MySQL and MariaDB they are looked up one by one by their key, and no row beside them: for a fair share of a table
/// `IN` is a scan, and a deletion that scans waits for the rows of open transactions.
pub(crate) async fn delete_by_id(
    db: &impl ConnectionTrait,
    table: &str,
    ids: &[i64],
) -> Result<u64, DbErr> {
    let backend = db.get_database_backend();
    let mut deleted = 0;
    for ids in ids.chunks(ROWS_DELETED) {
        let delete = if backend == DbBackend::MySql {
            let delete = format!(
                "DELETE t FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) AS d
                 STRAIGHT_JOIN {table} t FORCE INDEX (PRIMARY) ON t.id = d.id"
            );
            statement(backend, &delete, [json(&ids)?])
        } else {
            let delete = format!("DELETE FROM {table} WHERE id IN ({})", value_list(ids.len()));
            statement(backend, &delete, ids.iter().map(|id| Value::from(*id)))
        };
        deleted += db.execute_raw(delete).await?.rows_affected();
    }
    Ok(deleted)
}

/// How many rows a statement deletes at most: each is a parameter, of which no database takes any number.
const ROWS_DELETED: usize = 1000;

/// Numbers as a JSON text, for MySQL's `JSON_TABLE`.
pub(crate) fn json(numbers: &impl serde::Serialize) -> Result<Value, DbErr> {
    serde_json::to_string(numbers)
        .map(Value::from)
        .map_err(|error| DbErr::Custom(format!("ids cannot be written: {error}")))
}

/// `INSERT INTO …` that leaves a row out which is there already. An error instead would, on PostgreSQL, abort the
/// transaction around it.
pub(crate) fn insert_if_absent(
    backend: DbBackend,
    table: &str,
    columns: &str,
    rows: usize,
) -> String {
    let values = value_rows(rows, columns.split(',').count());
    if backend == DbBackend::MySql {
        format!("INSERT IGNORE INTO {table} ({columns}) VALUES {values}")
    } else {
        format!("INSERT INTO {table} ({columns}) VALUES {values} ON CONFLICT DO NOTHING")
    }
}

/// `?` as PostgreSQL writes it: `$1`, `$2`, …
pub(crate) fn numbered(sql: &str) -> String {
    let mut numbered = String::with_capacity(sql.len() * 5 / 4 + 16);
    for (parameter, text) in sql.split('?').enumerate() {
        if parameter > 0 {
            // Writing into a string never fails.
            let _ = write!(numbered, "${parameter}");
        }
        numbered.push_str(text);
    }
    numbered
}

/// `(?, ?, …), (?, ?, …), …`
pub(crate) fn value_rows(rows: usize, columns: usize) -> String {
    list(&format!("({})", value_list(columns)), rows)
}

/// `?, ?, …`
pub(crate) fn value_list(values: usize) -> String {
    list("?", values)
}

/// `item, item, …`
fn list(item: &str, times: usize) -> String {
    let mut list = String::with_capacity(times * (item.len() + 2));
    for place in 0..times {
        if place > 0 {
            list.push_str(", ");
        }
        list.push_str(item);
    }
    list
}

/// The longest error text, or an operator's reason, that is kept, in characters.
const MAX_TEXT: usize = 4000;
/// The longest code that is kept.
const MAX_CODE: usize = 64;

/// An error text as it can be kept: cut, and without the one character that PostgreSQL does not take. What cannot be
/// stored would keep its event from being held, and so its partition, for ever.
pub(crate) fn text(text: &str) -> String {
    kept(text, MAX_TEXT)
}

/// A code as it can be kept, like a [`text`].
pub(crate) fn code(code: &str) -> String {
    kept(code, MAX_CODE)
}

fn kept(text: &str, most: usize) -> String {
    let kept = text.chars().take(most);
    kept.map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Times are kept as microseconds since 1970: exact, comparable, and the same on every database.
pub(crate) fn micros(time: DateTime<Utc>) -> Value {
    Value::BigInt(Some(time.timestamp_micros()))
}

/// The time of a column written by [`micros`].
pub(crate) fn from_micros(micros: i64) -> Result<DateTime<Utc>, DbErr> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| DbErr::Type(format!("{micros} microseconds are no time")))
}

/// Whether an error says that a table of this crate is not there: waiting does not create it. A server says so in the
/// language that it is set to, and its code is the same in all of them; SQLite has no code for it, and one language.
pub(crate) fn is_missing_table(error: &DbErr) -> bool {
    let message = error.to_string();
    let is_missing = match trouble::code(error).as_deref() {
        Some("42P01" | "42S02") => true,
        _ => message.contains("no such table"),
    };
    is_missing && message.contains("rustok_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_for_postgresql() {
        assert_eq!(numbered("a = ? AND b IN (?, ?)"), "a = $1 AND b IN ($2, $3)");
    }

    #[tokio::test]
    async fn a_database_that_may_forget_commits_is_known_by_its_setting() {
        let mut options = sea_orm::ConnectOptions::new("sqlite::memory:");
        options.max_connections(1);
        let db = sea_orm::Database::connect(options).await.unwrap();
        for (level, is_durable) in [("OFF", false), ("NORMAL", false), ("FULL", true)] {
            db.execute_unprepared(&format!("PRAGMA synchronous = {level}")).await.unwrap();
            assert_eq!(forgetful(&db).await.unwrap().is_none(), is_durable, "{level}");
        }
    }

    #[test]
    fn rows_of_values() {
        assert_eq!(value_rows(2, 3), "(?, ?, ?), (?, ?, ?)");
    }
}
