//! The tables, as a `sea_orm_migration` migrator.
//!
//! Several instances may run it at once: one works, the others wait and find everything done. It keeps its books in `rustok_events_migrations`, so it
//! lives beside an application's own migrator; or append
//! [`Migrator::migrations`](sea_orm_migration::MigratorTrait::migrations) to the application's list.
//!
//! ```no_run
//! use rustok_events::migration::Migrator;
//! use sea_orm_migration::MigratorTrait;
//! # async fn f(db: sea_orm::DatabaseConnection) -> Result<(), sea_orm::DbErr> {
//! Migrator::up(&db, None).await?;
//! # Ok(()) }
//! ```

mod check;
mod m0001_outbox;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseExecutor, DatabaseTransaction, DbBackend, DbErr,
    IntoDatabaseExecutor, Statement,
};
use sea_orm_migration::{
    MigrationTrait, MigratorTrait,
    async_trait::async_trait,
    prelude::Alias,
    sea_query::{DynIden, IntoIden},
};

pub(crate) use self::check::wait_for_tables;
pub use self::check::{SchemaError, check};
use crate::sql;

const BOOKS: &str = "rustok_events_migrations";

/// Creates and upgrades this crate's tables. Running it again does nothing.
///
/// Cancellation: an `up` on a connection that is dropped goes to its end by itself.
#[derive(Debug, Clone, Copy)]
pub struct Migrator;

#[async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_outbox::Migration)]
    }

    fn migration_table_name() -> DynIden {
        Alias::new(BOOKS).into_iden()
    }

    async fn up<'c, C>(db: C, steps: Option<u32>) -> Result<(), DbErr>
    where
        C: IntoDatabaseExecutor<'c>,
    {
        let db = match db.into_database_executor() {
            DatabaseExecutor::Connection(db) => db.clone(),
            // Whoever gives a transaction has the say over what it waits for.
            executor => return Alone::up(executor, steps).await,
        };
        // On a task of its own, which goes on where the future is dropped: MySQL's lock would stay with its connection,
        // in the pool, and keep every other instance from migrating.
        let done = tokio::spawn(async move { up_alone(&db, steps).await });
        done.await.map_err(|error| DbErr::Custom(format!("the migration broke off: {error}")))?
    }
}

/// Migrates once no other instance does.
async fn up_alone(db: &DatabaseConnection, steps: Option<u32>) -> Result<(), DbErr> {
    let txn = sql::begin_write(db).await?;
    lock(&txn).await?;
    let done = Alone::up(&txn, steps).await;
    unlock(&txn).await?;
    done?;
    txn.commit().await
}

/// The migrations as they are run by the one instance that has the lock.
struct Alone;

impl MigratorTrait for Alone {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        Migrator::migrations()
    }

    fn migration_table_name() -> DynIden {
        Migrator::migration_table_name()
    }
}

/// Waits until no other instance migrates. SQLite has one writer, and this transaction is it.
async fn lock(txn: &DatabaseTransaction) -> Result<(), DbErr> {
    match txn.get_database_backend() {
        DbBackend::Postgres => {
            let sql = "SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.rustok_events_migrations'))";
            txn.execute_unprepared(sql).await?;
        }
        DbBackend::MySql => {
            // Ten minutes: longer than any migration of these tables takes.
            let sql =
                "SELECT GET_LOCK(MD5(CONCAT(DATABASE(), '.rustok_events_migrations')), 600) AS got";
            let row = txn.query_one_raw(Statement::from_string(DbBackend::MySql, sql)).await?;
            let got: Option<i64> = row.map(|row| row.try_get("", "got")).transpose()?.flatten();
            if got != Some(1) {
                return Err(DbErr::Custom(
                    "another instance has been migrating for ten minutes".to_owned(),
                ));
            }
        }
        _ => {}
    }
    Ok(())
}

/// MySQL's lock belongs to the connection, which goes back to the pool; the others end with the transaction.
async fn unlock(txn: &DatabaseTransaction) -> Result<(), DbErr> {
    if txn.get_database_backend() == DbBackend::MySql {
        let sql = "DO RELEASE_LOCK(MD5(CONCAT(DATABASE(), '.rustok_events_migrations')))";
        txn.execute_unprepared(sql).await?;
    }
    Ok(())
}
