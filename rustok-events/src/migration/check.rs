//! Whether the tables fit the program.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

use crate::{
    backoff::{Backoff, retry},
    sql::{is_missing_table, statement},
};

/// The version of the tables that this program works with.
pub(super) const VERSION: u32 = 1;

/// Why the tables do not fit the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A table is not there.
    #[error(
        "the tables of rustok-events are missing ({0}): create them with `Migrator::up(&db, None)`, and look whether \
         the connection's schema is the one they are in"
    )]
    Missing(String),
    /// The tables are older than the program.
    #[error(
        "the tables are of version {found}, this program needs {needed}: run `Migrator::up(&db, None)`"
    )]
    Older {
        /// The version of the tables.
        found: u32,
        /// The version the program needs.
        needed: u32,
    },
    /// The tables are newer than the program.
    #[error(
        "the tables are of version {found}, this program knows up to {known}: it is too old for them"
    )]
    Newer {
        /// The version of the tables.
        found: u32,
        /// The newest version the program knows.
        known: u32,
    },
    /// The database could not be asked.
    #[error("the tables could not be looked at: {0}")]
    Database(#[from] DbErr),
}

impl SchemaError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "tables_missing",
            Self::Older { .. } => "tables_older",
            Self::Newer { .. } => "tables_newer",
            Self::Database(_) => "database",
        }
    }

    /// Whether waiting may mend it.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(_))
    }
}

/// Waits until the database can be asked, then [checks](check) the tables.
pub(crate) async fn wait_for_tables(db: &DatabaseConnection) -> Result<(), SchemaError> {
    let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    retry(backoff, "the tables cannot be looked at", || check(db)).await
}

/// Looks whether the tables are there and of the version that this program works with.
///
/// # Errors
/// [`SchemaError`] names what is missing, or which of the two is older.
pub async fn check(db: &DatabaseConnection) -> Result<(), SchemaError> {
    let backend = db.get_database_backend();
    let select = "SELECT value FROM rustok_outbox_meta WHERE name = ?";
    let row = match db.query_one_raw(statement(backend, select, ["version".into()])).await {
        Err(error) if is_missing_table(&error) => {
            return Err(SchemaError::Missing("rustok_outbox_meta".to_owned()));
        }
        other => other?,
    };
    let value: Option<String> = row.map(|row| row.try_get("", "value")).transpose()?;
    let found: u32 = value.and_then(|value| value.parse().ok()).unwrap_or(0);
    match found {
        found if found < VERSION => Err(SchemaError::Older { found, needed: VERSION }),
        found if found > VERSION => Err(SchemaError::Newer { found, known: VERSION }),
        _ => Ok(()),
    }
}
