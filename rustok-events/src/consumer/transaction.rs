//! The transaction that inbox, effects and follow-ups share, from its begin to its commit.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use sea_orm::{DatabaseConnection, DatabaseTransaction, DbBackend, DbErr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::halt::Failed;
use crate::{EventId, fault::Faults, handler::Failure, held, outbox::wake, sql, trouble};

/// The database, and how many transactions may be open on it at once.
pub(super) struct Writer {
    pub(super) db: DatabaseConnection,
    writers: Arc<Semaphore>,
    /// Whether sessions were seen to begin at another isolation level than READ COMMITTED.
    other_isolation: AtomicBool,
    faults: Faults,
}

/// The right to have a transaction open.
pub(super) type Turn = OwnedSemaphorePermit;

/// A transaction and the right to have one open; the transaction ends first.
pub(super) struct Transaction {
    txn: DatabaseTransaction,
    _turn: Option<Turn>,
}

impl std::ops::Deref for Transaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.txn
    }
}

/// What was done in a transaction that somebody has to hear of once it is committed.
#[derive(Default)]
pub(super) struct News {
    /// Handlers published.
    pub(super) published: AtomicBool,
    /// Events were held.
    pub(super) held: AtomicBool,
    /// The first event that was claimed in it and that a handler was called with, and that handler.
    pub(super) called: OnceLock<(&'static str, EventId)>,
    /// Why it cannot be committed.
    stumble: Mutex<Option<Stumble>>,
}

/// Why several messages could not be handled at once, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stumble {
    /// The message at this offset failed.
    At(u64),
    /// Some of them were claimed before.
    Mixed,
}

impl News {
    pub(super) fn stumbled(&self, stumble: Stumble) {
        *self.stumble.lock().unwrap_or_else(PoisonError::into_inner) = Some(stumble);
    }

    pub(super) fn stumble(&self) -> Option<Stumble> {
        *self.stumble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    pub(super) fn new(db: DatabaseConnection, faults: Faults) -> Self {
        // SQLite has one writer: queueing here is fair, queueing in its busy handler is not.
        let writers = match db.get_database_backend() {
            DbBackend::Sqlite => 1,
            _ => Semaphore::MAX_PERMITS,
        };
        let writers = Arc::new(Semaphore::new(writers));
        Self { db, writers, other_isolation: AtomicBool::new(false), faults }
    }

    /// Whether one transaction may be open at a time: the others queue here.
    pub(super) fn is_single(&self) -> bool {
        self.db.get_database_backend() == DbBackend::Sqlite
    }

    /// Queues for the right to have a transaction open. Whoever has it begins one, or drops it, and waits for nothing
    /// else in between.
    pub(super) async fn turn(&self) -> Option<Turn> {
        // The semaphore is never closed.
        Arc::clone(&self.writers).acquire_owned().await.ok()
    }

    pub(super) async fn begin(&self) -> Result<Transaction, DbErr> {
        self.begin_with(true, None).await
    }

    /// Like [`begin`](Self::begin), for a transaction whose first statement is a claim
    /// ([`inbox::claim`](crate::inbox::claim)) and which [`end`](Self::end) ends. Who has no turn queues for one.
    pub(super) async fn begin_claim(&self, turn: Option<Turn>) -> Result<Transaction, DbErr> {
        self.begin_with(self.other_isolation.load(Ordering::Relaxed), turn).await
    }

    async fn begin_with(&self, settings: bool, turn: Option<Turn>) -> Result<Transaction, DbErr> {
        let turn = match turn {
            None => self.turn().await,
            turn => turn,
        };
        let txn = if settings {
            sql::begin_durable(&self.db).await?
        } else {
            sql::begin_unset(&self.db).await?
        };
        Ok(Transaction { txn, _turn: turn })
    }

    /// Commits what succeeded and rolls back what did not.
    pub(super) async fn end(
        &self,
        transaction: Transaction,
        result: Result<(), Failed>,
        news: &News,
    ) -> Result<(), Failed> {
        let Transaction { txn, _turn } = transaction;
        if let Err(failed) = result {
            if failed.is_other_isolation() {
                self.other_isolation.store(true, Ordering::Relaxed);
            }
            // Rolled back here and not by a drop, which would leave the database locked for a while.
            return match sql::roll_back(txn).await {
                Ok(()) => Err(failed),
                // The connection is gone, and whatever the handler said of it: it is not the event's doing.
                Err(error) => Err(Failed::Database(error)),
            };
        }
        self.commit(txn).await.map_err(commit_failed)?;
        if news.published.load(Ordering::Relaxed) {
            wake::notify();
        }
        if news.held.load(Ordering::Relaxed) {
            held::notify();
        }
        Ok(())
    }

    /// Commits what this crate itself wrote about held events, or rolls it back.
    pub(super) async fn end_own<T>(
        &self,
        transaction: Transaction,
        result: Result<T, DbErr>,
    ) -> Result<T, DbErr> {
        let ended = self.end_quiet(transaction, result).await;
        held::notify();
        ended
    }

    /// Commits what this crate itself wrote, or rolls it back, and tells nobody.
    pub(super) async fn end_quiet<T>(
        &self,
        transaction: Transaction,
        result: Result<T, DbErr>,
    ) -> Result<T, DbErr> {
        let Transaction { txn, _turn } = transaction;
        match result {
            Ok(value) => {
                self.commit(txn).await?;
                Ok(value)
            }
            Err(error) => {
                sql::roll_back(txn).await?;
                Err(error)
            }
        }
    }

    async fn commit(&self, txn: DatabaseTransaction) -> Result<(), DbErr> {
        self.faults.database("consumer.commit.before").await?;
        txn.commit().await?;
        self.faults.database("consumer.commit.after").await
    }
}

/// Whose doing it is that a transaction of handlers could not be committed. What they wrote and the database refuses only
/// by then, such as what breaks a constraint that it looks at last, is theirs: waiting does not mend it.
fn commit_failed(error: DbErr) -> Failed {
    if trouble::is_of_data(&error) {
        let refused = trouble::Trouble::Refused;
        Failed::Handler(Failure::of_database("commit_refused", error.to_string(), refused))
    } else {
        Failed::Database(error)
    }
}
