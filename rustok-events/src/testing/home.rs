//! Where a test's tables live: SQLite in memory, or a schema or database of its own on a server.

use std::{thread, time::Duration};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr};
use sea_orm_migration::MigratorTrait;
use uuid::Uuid;

use crate::migration::Migrator;

/// How long a test waits for a connection: there is one, and whoever holds it longer holds it for ever.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A migrated database of one test. What was made for it is gone when it is dropped.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) db: DatabaseConnection,
    cleanup: Option<Cleanup>,
}

#[derive(Debug)]
struct Cleanup {
    server: String,
    sql: String,
}

impl Home {
    /// SQLite in memory: one connection, since each of a pool's would be a database of its own.
    pub(super) async fn in_memory() -> Result<Self, DbErr> {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .sqlx_logging(false);
        let db = Database::connect(options).await?;
        Migrator::up(&db, None).await?;
        Ok(Self { db, cleanup: None })
    }

    /// On a PostgreSQL server a schema of its own, on a MySQL or MariaDB server a database of its own; a SQLite file
    /// as it is.
    pub(super) async fn at(url: &str) -> Result<Self, DbErr> {
        if url.starts_with("sqlite:") {
            return Self::on(connect(url, None).await?).await;
        }
        let name = format!("rustok_test_{}", Uuid::now_v7().simple());
        let postgres = url.starts_with("postgres");
        let (create, sql) = if postgres {
            (format!("CREATE SCHEMA {name}"), format!("DROP SCHEMA {name} CASCADE"))
        } else {
            (format!("CREATE DATABASE {name}"), format!("DROP DATABASE {name}"))
        };
        execute(url, &create).await?;
        let cleanup = Some(Cleanup { server: url.to_owned(), sql });
        let connected = if postgres {
            connect(url, Some(&name)).await
        } else {
            let (base, _) = url.rsplit_once('/').unwrap_or((url, ""));
            connect(&format!("{base}/{name}"), None).await
        };
        let home = Self { db: connected?, cleanup };
        Migrator::up(&home.db, None).await?;
        Ok(home)
    }

    /// A database that is connected already.
    pub(super) async fn on(db: DatabaseConnection) -> Result<Self, DbErr> {
        Migrator::up(&db, None).await?;
        Ok(Self { db, cleanup: None })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(Cleanup { server, sql }) = self.cleanup.take() {
            // A test that panics cleans up too, so this cannot be left to the test's own runtime.
            let cleaner = thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                if let Ok(runtime) = runtime {
                    let dropped = runtime.block_on(execute(&server, &sql));
                    if let Err(error) = dropped {
                        tracing::warn!(%error, sql, "a test's tables were left behind");
                    }
                }
            });
            let _ = cleaner.join();
        }
    }
}

async fn connect(url: &str, schema: Option<&str>) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(8).min_connections(0).sqlx_logging(false).map_sqlx_sqlite_opts(
        |options| {
            options
                .journal_mode(sea_orm::sqlx::sqlite::SqliteJournalMode::Wal)
                .busy_timeout(Duration::from_secs(30))
        },
    );
    if let Some(schema) = schema {
        options.set_schema_search_path(schema);
    }
    Database::connect(options).await
}

async fn execute(url: &str, sql: &str) -> Result<(), DbErr> {
    let db = connect(url, None).await?;
    db.execute_unprepared(sql).await?;
    db.close().await
}
