//! The outbox, the inbox and the held events.

mod mysql;
mod postgres;
mod sqlite;

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "rustok_events_0001_outbox"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = match manager.get_database_backend() {
            DbBackend::Sqlite => sqlite::TABLES,
            DbBackend::Postgres => postgres::TABLES,
            DbBackend::MySql => mysql::TABLES,
            other => {
                return Err(DbErr::Custom(format!(
                    "rustok-events has no outbox for {other:?}: use PostgreSQL, MySQL, MariaDB or SQLite"
                )));
            }
        };
        for table in tables {
            manager.get_connection().execute_unprepared(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            let drop = format!("DROP TABLE IF EXISTS {table}");
            manager.get_connection().execute_unprepared(&drop).await?;
        }
        Ok(())
    }
}

const TABLES: [&str; 11] = [
    "rustok_held",
    "rustok_inbox",
    "rustok_outbox_pending",
    "rustok_outbox_cursor",
    "rustok_outbox_relay",
    "rustok_outbox_delayed",
    "rustok_outbox_parked",
    "rustok_outbox_meta",
    "rustok_outbox_once",
    "rustok_outbox_range",
    "rustok_outbox",
];
