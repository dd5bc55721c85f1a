//! Small SQL building blocks that every table of this crate shares.

use chrono::{DateTime, Utc};
use sea_orm::{DbBackend, DbErr, Statement, Value};

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

/// `?` as PostgreSQL writes it: `$1`, `$2`, …
fn numbered(sql: &str) -> String {
    let mut numbered = String::with_capacity(sql.len() + 16);
    let mut parameter = 0;
    for character in sql.chars() {
        if character == '?' {
            parameter += 1;
            numbered.push('$');
            numbered.push_str(&parameter.to_string());
        } else {
            numbered.push(character);
        }
    }
    numbered
}

/// `(?, ?, …), (?, ?, …), …`
pub(crate) fn value_rows(rows: usize, columns: usize) -> String {
    let row = format!("({})", value_list(columns));
    vec![row; rows].join(", ")
}

/// `?, ?, …`
pub(crate) fn value_list(values: usize) -> String {
    vec!["?"; values].join(", ")
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

/// Whether an error says that a table of this crate is not there: waiting does not create it.
pub(crate) fn is_missing_table(error: &DbErr) -> bool {
    let message = error.to_string();
    message.contains("rustok_")
        && (message.contains("no such table")
            || message.contains("does not exist")
            || message.contains("doesn't exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_for_postgresql() {
        assert_eq!(numbered("a = ? AND b IN (?, ?)"), "a = $1 AND b IN ($2, $3)");
    }

    #[test]
    fn rows_of_values() {
        assert_eq!(value_rows(2, 3), "(?, ?, ?), (?, ?, ?)");
    }
}
