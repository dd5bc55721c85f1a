//! Dead letters: events that a handler could not handle, kept as they came until an operator decides.
//!
//! ```no_run
//! use rustok_events::dead_letter::{DeadLetters, Filter};
//! # async fn f(db: sea_orm::DatabaseConnection) -> Result<(), rustok_events::BoxError> {
//! let letters = DeadLetters::new(db);
//! for letter in letters.list(&Filter::new().group("search")).await? {
//!     println!("{}: {} ({})", letter.id, letter.error, letter.code);
//! }
//! letters.retry_all(&Filter::new().handler("index_order")).await?;
//! # Ok(()) }
//! ```
//!
//! A retry is carried out by a running [`ConsumerRuntime`](crate::ConsumerRuntime) that has the handler, within
//! [`redelivery_tick`](crate::ConsumerConfig::redelivery_tick): through the same decoding and the same inbox, at the
//! handler that failed and at no other. While a dead letter parks its key, the key's later events wait behind it
//! in order; they go on once it is handled or discarded.

mod filter;
mod letter;
mod repair;

use sea_orm::{DatabaseConnection, DbErr};

pub use self::{filter::Filter, letter::DeadLetter};
use crate::{Clock, sql::statement};

/// What operators do with dead letters. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    db: DatabaseConnection,
    clock: Clock,
}

impl DeadLetters {
    /// The dead letters of the consumers whose inbox is in `db`.
    pub fn new(db: DatabaseConnection) -> Self {
        Self { db, clock: Clock::system() }
    }

    /// Sets the clock that the consumers follow, if it is not the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The dead letters that match, oldest first, at most [`Filter::limit`].
    ///
    /// # Errors
    /// [`DeadLetterError::Database`].
    pub async fn list(&self, filter: &Filter) -> Result<Vec<DeadLetter>, DeadLetterError> {
        use sea_orm::ConnectionTrait;
        let (condition, values) = filter.condition();
        let sql = format!(
            "SELECT * FROM rustok_held WHERE state = 'dead'{condition} ORDER BY id LIMIT {}",
            filter.limit
        );
        let statement = statement(self.db.get_database_backend(), &sql, values);
        let rows = self.db.query_all_raw(statement).await?;
        Ok(rows.iter().map(letter::read).collect::<Result<_, _>>()?)
    }

    /// One dead letter.
    ///
    /// # Errors
    /// [`DeadLetterError::NotFound`] if there is none of this number, or the database's.
    pub async fn get(&self, id: i64) -> Result<DeadLetter, DeadLetterError> {
        let found = self.list(&Filter::new().id(id)).await?;
        found.into_iter().next().ok_or(DeadLetterError::NotFound { id })
    }

    /// How many events wait behind a dead letter that parks its key.
    ///
    /// # Errors
    /// [`DeadLetterError::NotFound`] if there is none of this number, or the database's.
    pub async fn waiting_behind(&self, id: i64) -> Result<u64, DeadLetterError> {
        let letter = self.get(id).await?;
        repair::waiting_behind(&self.db, &letter).await.map_err(Into::into)
    }
}

/// Why dead letters could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// There is no such dead letter: it never was, it was retried or discarded meanwhile, or it is being retried.
    #[error("there is no dead letter {id}")]
    NotFound {
        /// The number asked for.
        id: i64,
    },
    /// The dead letter's event has no key, so there is no key to retry.
    #[error("the event of dead letter {id} has no key: retry it alone")]
    NoKey {
        /// The number asked for.
        id: i64,
    },
    /// A reason has to say something.
    #[error("a dead letter is discarded with a reason: say why")]
    NoReason,
    /// The database's.
    #[error(
        "the dead letters cannot be used: {0} (do the tables exist? `Migrator::up(&db, None)` creates them)"
    )]
    Database(#[from] DbErr),
}

impl DeadLetterError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::NoKey { .. } => "no_key",
            Self::NoReason => "no_reason",
            Self::Database(_) => "database",
        }
    }
}

/// All dead letters, oldest first.
///
/// # Errors
/// The database's.
pub async fn dead_letters(db: &DatabaseConnection) -> Result<Vec<DeadLetter>, DeadLetterError> {
    DeadLetters::new(db.clone()).list(&Filter::new().limit(u32::MAX)).await
}
