//! Invoices are booked in the order of their account. One names an account that nobody has opened: it becomes a dead
//! letter, and the account's later invoices wait until an operator has repaired it.

use std::fmt::Write as _;

use rustok_events::{
    dead_letter::{DeadLetterError, DeadLetters, Filter},
    prelude::*,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement};
use serde::{Deserialize, Serialize};

/// An invoice was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "books", topic = "invoices", partition_key = account)]
pub struct InvoiceWritten {
    /// The account it is for.
    pub account: String,
    /// What is owed.
    pub cents: i64,
}

/// Makes the table.
///
/// # Errors
/// The database's.
pub async fn create_table(db: DatabaseConnection) -> Result<(), DbErr> {
    db.execute_unprepared("CREATE TABLE accounts (name VARCHAR(64) PRIMARY KEY, cents BIGINT)")
        .await?;
    Ok(())
}

/// Opens an account.
///
/// # Errors
/// The database's.
pub async fn open_account(db: &DatabaseConnection, name: &str) -> Result<(), DbErr> {
    let sql = "INSERT INTO accounts (name, cents) VALUES (?, 0)";
    let backend = db.get_database_backend();
    db.execute_raw(Statement::from_sql_and_values(backend, sql, [name.into()])).await?;
    Ok(())
}

/// Books an invoice. No retry opens an account, so a missing one is terminal.
#[event_handler(group = "books")]
pub async fn book<S>(ctx: &mut HandlerContext<'_, S>, event: InvoiceWritten) -> HandlerResult {
    let sql = "UPDATE accounts SET cents = cents + ? WHERE name = ?";
    let values = [event.cents.into(), event.account.clone().into()];
    let backend = ctx.tx().get_database_backend();
    let booked = ctx.tx().execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    if booked.rows_affected() == 0 {
        return Err(format!("there is no account `{}`", event.account)).terminal();
    }
    Ok(())
}

/// What an operator reads in the morning.
///
/// # Errors
/// The database's.
pub async fn report(letters: &DeadLetters) -> Result<String, DeadLetterError> {
    let mut report = String::new();
    for letter in letters.list(&Filter::new().group("books")).await? {
        let waiting = letters.waiting_behind(letter.id).await?;
        let _ = writeln!(report, "{}: {}; {waiting} wait behind it", letter.handler, letter.error);
    }
    Ok(report)
}
