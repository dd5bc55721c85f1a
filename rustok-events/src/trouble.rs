//! What kind of trouble a database error speaks of: whether waiting helps, and whose doing it is.

use std::{borrow::Cow, error::Error, sync::Arc};

use sea_orm::{
    ConnAcquireErr, DbErr, RuntimeErr, SqlxError,
    sqlx::{error::DatabaseError, mysql::MySqlDatabaseError},
};

/// The kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The database cannot be reached.
    Away,
    /// The pool had no connection to give in time.
    NoConnection,
    /// Two transactions were in each other's way: the same again succeeds.
    Conflict,
    /// The database refused what it was asked.
    Refused,
}

/// The trouble that an error tells of, itself or through one of its causes; `None` if no database is part of it.
pub(crate) fn in_chain(error: &(dyn Error + 'static)) -> Option<Trouble> {
    let mut error = Some(error);
    while let Some(link) = error {
        if let Some(error) = link.downcast_ref::<DbErr>() {
            return Some(of(error));
        }
        if let Some(error) = link.downcast_ref::<RuntimeErr>() {
            return Some(of_runtime(error));
        }
        if let Some(error) = link.downcast_ref::<SqlxError>() {
            return Some(of_sqlx(error));
        }
        if let Some(error) = link.downcast_ref::<Arc<SqlxError>>() {
            return Some(of_sqlx(error));
        }
        error = link.source();
    }
    None
}

/// The trouble that a database error tells of.
pub(crate) fn of(error: &DbErr) -> Trouble {
    match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => Trouble::NoConnection,
        DbErr::ConnectionAcquire(_) => Trouble::Away,
        DbErr::Conn(error) | DbErr::Exec(error) | DbErr::Query(error) => of_runtime(error),
        _ => Trouble::Refused,
    }
}

/// The code that a database gave an error: SQLSTATE, or SQLite's own result code.
pub(crate) fn code(error: &DbErr) -> Option<Cow<'_, str>> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => error.as_database_error()?.code(),
        _ => None,
    }
}

/// Whether a database refused what was written, as by a constraint; not where its disk is full, it was told to stop, or it
/// takes no writes: that is its own trouble, and passes.
pub(crate) fn is_of_data(error: &DbErr) -> bool {
    code(error).is_some_and(|code| is_code_of_data(&code))
}

fn is_code_of_data(code: &str) -> bool {
    if code.len() == 5 {
        // Connection, transaction state, rollback, resources, not in that state, operator, system, internal; and what
        // MySQL has no class for.
        const OWN: [&str; 9] = ["08", "25", "40", "53", "55", "57", "58", "XX", "HY"];
        return !OWN.iter().any(|class| code.starts_with(class));
    }
    // SQLite's constraints: the low byte of an extended code is the plain one.
    code.parse::<u32>().is_ok_and(|code| code & 0xff == 19)
}

fn of_runtime(error: &RuntimeErr) -> Trouble {
    match error {
        RuntimeErr::SqlxError(error) => of_sqlx(error),
        RuntimeErr::Internal(_) => Trouble::Refused,
    }
}

fn of_sqlx(error: &SqlxError) -> Trouble {
    match error {
        SqlxError::Io(_) | SqlxError::Tls(_) | SqlxError::PoolClosed | SqlxError::WorkerCrashed => {
            Trouble::Away
        }
        SqlxError::PoolTimedOut => Trouble::NoConnection,
        SqlxError::Database(error) if is_mysql_conflict(&**error) => Trouble::Conflict,
        SqlxError::Database(error) => error.code().map_or(Trouble::Refused, |code| of_code(&code)),
        // `Protocol` too: what the driver does not send, such as a statement with more parameters than there can be.
        _ => Trouble::Refused,
    }
}

/// MySQL's and MariaDB's lock wait timeout and MariaDB's changed record come with SQLSTATE HY000, which says nothing: only
/// their numbers tell them apart.
fn is_mysql_conflict(error: &dyn DatabaseError) -> bool {
    let number = error.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number);
    matches!(number, Some(1020 | 1205 | 1213))
}

/// SQLSTATE, or SQLite's own result codes.
fn of_code(code: &str) -> Trouble {
    match code {
        // Serialization failure, deadlock, lock not available. SQLite: busy and locked, plain and extended.
        "40001" | "40P01" | "55P03" | "5" | "6" | "261" | "262" | "517" | "518" | "773" => {
            Trouble::Conflict
        }
        // Shutdown and start-up, too many connections.
        "57P01" | "57P02" | "57P03" | "53300" | "08004" => Trouble::Away,
        _ if code.starts_with("08") && code.len() == 5 => Trouble::Away,
        _ => Trouble::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the order could not be indexed")]
    struct Wrapped(#[source] DbErr);

    #[test]
    fn a_database_is_found_behind_an_error_of_the_application() {
        let acquire = DbErr::ConnectionAcquire(ConnAcquireErr::Timeout);
        assert_eq!(in_chain(&Wrapped(acquire)), Some(Trouble::NoConnection));
        assert_eq!(in_chain(&Wrapped(DbErr::RecordNotUpdated)), Some(Trouble::Refused));
        assert_eq!(in_chain(&std::fmt::Error), None);
    }

    #[test]
    fn a_constraint_is_about_the_data_and_a_full_disk_is_not() {
        for code in ["23503", "23505", "22012", "P0001", "19", "787", "2067"] {
            assert!(is_code_of_data(code), "{code}");
        }
        for code in ["53100", "57014", "25006", "58030", "XX000", "HY000", "13", "10", "778", "5"] {
            assert!(!is_code_of_data(code), "{code}");
        }
    }

    #[test]
    fn what_the_driver_does_not_send_is_refused() {
        let error = SqlxError::Protocol("too many arguments for query: 65536".to_owned());
        assert_eq!(of_sqlx(&error), Trouble::Refused);
    }

    #[test]
    fn codes_that_waiting_mends() {
        assert_eq!(of_code("40P01"), Trouble::Conflict);
        assert_eq!(of_code("08006"), Trouble::Away);
        assert_eq!(of_code("23505"), Trouble::Refused);
    }
}
