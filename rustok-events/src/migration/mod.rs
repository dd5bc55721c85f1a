//! The tables, as a `sea_orm_migration` migrator.
//!
//! It keeps its books in `rustok_events_migrations`, so it lives beside an application's own migrator; or append
//! [`Migrator::migrations`](sea_orm_migration::MigratorTrait::migrations) to the application's list.
//!
//! ```no_run
//! use rustok_events::migration::Migrator;
//! use sea_orm_migration::MigratorTrait;
//! # async fn f(db: sea_orm::DatabaseConnection) -> Result<(), sea_orm::DbErr> {
//! Migrator::up(&db, None).await?;
//! # Ok(()) }
//! ```

mod m0001_outbox;

use sea_orm_migration::{MigrationTrait, MigratorTrait, prelude::Alias, sea_query::IntoIden};

/// Creates and upgrades this crate's tables. Running it again does nothing.
#[derive(Debug, Clone, Copy)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_outbox::Migration)]
    }

    fn migration_table_name() -> sea_orm_migration::sea_query::DynIden {
        Alias::new("rustok_events_migrations").into_iden()
    }
}
