//! Databases to measure on: a schema, a database or a file of its own for each cell, dropped after it.

use std::{env, time::Duration};

use anyhow::{Context, Result};
use rustok_events::migration::Migrator;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection,
    sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use sea_orm_migration::MigratorTrait;
use tempfile::TempDir;
use uuid::Uuid;

/// What is measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// The server that `TEST_POSTGRES_URL` names.
    Postgres { synchronous: bool },
    /// The server that `TEST_MYSQL_URL` names.
    MariaDb,
    /// A file in a temporary folder.
    Sqlite,
}

/// A migrated database.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) server: Server,
    /// Its address, whoever connects.
    pub(crate) url: String,
    /// A pool of connections for the application's side.
    pub(crate) db: DatabaseConnection,
    /// Whether pools ask every connection that they hand out whether it is well, as they do by default.
    pub(crate) asks: bool,
    cleanup: Cleanup,
}

#[derive(Debug)]
enum Cleanup {
    Folder(TempDir),
    Statement { url: String, sql: String },
}

impl Server {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres { synchronous: true } => "PostgreSQL",
            Self::Postgres { synchronous: false } => "PostgreSQL, synchronous_commit = off",
            Self::MariaDb => "MariaDB",
            Self::Sqlite => "SQLite",
        }
    }

    fn variable(self) -> Option<&'static str> {
        match self {
            Self::Postgres { .. } => Some("TEST_POSTGRES_URL"),
            Self::MariaDb => Some("TEST_MYSQL_URL"),
            Self::Sqlite => None,
        }
    }

    /// Whether it can be measured here; if not, says so.
    pub(crate) fn is_available(self) -> bool {
        let missing = self.variable().filter(|variable| env::var(variable).is_err());
        if let Some(variable) = missing {
            eprintln!("SKIPPED {}: {variable} is not set", self.name());
        }
        missing.is_none()
    }
}

impl Place {
    /// A new database with the crate's tables and a table of the application's.
    pub(crate) async fn create(server: Server) -> Result<Self> {
        Self::create_with(server, true).await
    }

    /// The like, with pools as docs/operations.md has them.
    pub(crate) async fn create_quiet(server: Server) -> Result<Self> {
        Self::create_with(server, false).await
    }

    async fn create_with(server: Server, asks: bool) -> Result<Self> {
        let name = format!("rustok_bench_{}", Uuid::now_v7().simple());
        let address = server.variable().map(|variable| env::var(variable).context(variable));
        let address = address.transpose()?.unwrap_or_default();
        let (url, cleanup) = match server {
            Server::Sqlite => {
                let folder = tempfile::tempdir()?;
                let url = format!("sqlite://{}/bench.db?mode=rwc", folder.path().display());
                (url, Cleanup::Folder(folder))
            }
            Server::Postgres { synchronous } => {
                execute(&address, &format!("CREATE SCHEMA {name}")).await?;
                let separator = if address.contains('?') { '&' } else { '?' };
                let commit = if synchronous { "on" } else { "off" };
                let url = format!(
                    "{address}{separator}options[search_path]={name}&options[synchronous_commit]={commit}"
                );
                let sql = format!("DROP SCHEMA {name} CASCADE");
                (url, Cleanup::Statement { url: address, sql })
            }
            Server::MariaDb => {
                execute(&address, &format!("CREATE DATABASE {name}")).await?;
                let (base, _) = address.rsplit_once('/').context("the URL names a database")?;
                let url = format!("{base}/{name}");
                let sql = format!("DROP DATABASE {name}");
                (url, Cleanup::Statement { url: address, sql })
            }
        };
        let db = connect(&url, 16, asks).await?;
        Migrator::up(&db, None).await?;
        let id = match server {
            Server::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
            Server::Postgres { .. } => "BIGSERIAL PRIMARY KEY",
            Server::MariaDb => "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
        };
        let orders = format!("CREATE TABLE orders (id {id}, customer VARCHAR(64), amount BIGINT)");
        db.execute_unprepared(&orders).await?;
        Ok(Self { server, url, db, asks, cleanup })
    }

    /// Another pool: what another process has.
    pub(crate) async fn connect(&self, connections: u32) -> Result<DatabaseConnection> {
        connect(&self.url, connections, self.asks).await
    }

    /// Lets the database put itself in order, so that it does not do so in the middle of a measurement.
    pub(crate) async fn settle(&self) -> Result<()> {
        if let Server::Postgres { .. } = self.server {
            self.db.execute_unprepared("VACUUM ANALYZE").await?;
            self.db.execute_unprepared("CHECKPOINT").await?;
        }
        Ok(())
    }

    /// Drops it.
    pub(crate) async fn remove(self) -> Result<()> {
        self.db.close().await?;
        match self.cleanup {
            Cleanup::Folder(folder) => Ok(folder.close()?),
            Cleanup::Statement { url, sql } => execute(&url, &sql).await,
        }
    }
}

/// How SQLite is opened, on both sides.
pub(crate) fn sqlite(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.journal_mode(SqliteJournalMode::Wal).busy_timeout(Duration::from_secs(30))
}

async fn connect(url: &str, connections: u32, asks: bool) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).min_connections(0).sqlx_logging(false);
    options.map_sqlx_sqlite_opts(sqlite);
    if !asks {
        options.test_before_acquire_if_idle_for(Duration::from_secs(10));
    }
    Ok(Database::connect(options).await?)
}

async fn execute(url: &str, sql: &str) -> Result<()> {
    let db = connect(url, 1, true).await?;
    db.execute_unprepared(sql).await?;
    Ok(db.close().await?)
}
