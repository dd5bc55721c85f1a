//! What an event may be published in: a transaction, and nothing else.

use sea_orm::DatabaseTransaction;

/// A transaction that events can be published in: [`sea_orm::DatabaseTransaction`], or a reference to one.
///
/// Sealed. A connection or a pool is refused by the compiler, since an event written outside the transaction of
/// the state it tells of may tell of something that never happened.
#[diagnostic::on_unimplemented(
    message = "events are published inside a transaction, and `{Self}` is not one",
    label = "this is not a transaction",
    note = "begin one with `let txn = db.begin().await?;`, pass `&txn` here and to the state's own writes, then `bus.commit(txn).await?`"
)]
pub trait OutboxTransaction: sealed::Sealed + Send + Sync {
    #[doc(hidden)]
    fn as_transaction(&self) -> &DatabaseTransaction;
}

impl OutboxTransaction for DatabaseTransaction {
    fn as_transaction(&self) -> &DatabaseTransaction {
        self
    }
}

impl<T: OutboxTransaction + ?Sized> OutboxTransaction for &T {
    fn as_transaction(&self) -> &DatabaseTransaction {
        T::as_transaction(self)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for sea_orm::DatabaseTransaction {}
    impl<T: Sealed + ?Sized> Sealed for &T {}
}
