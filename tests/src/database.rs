//! Databases for tests: SQLite in a folder of its own, PostgreSQL and MySQL or MariaDB where a server is given, each
//! test in a schema or database of its own that is dropped at the end.

use std::{env, thread, time::Duration};

use rustok_events::migration::Migrator;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, sqlx::Connection as _,
};
use sea_orm_migration::MigratorTrait;
use tempfile::TempDir;
use uuid::Uuid;

/// How many connections a pool has.
const CONNECTIONS: u32 = 8;

/// A kind of database that the outbox works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// A file in a temporary folder.
    Sqlite,
    /// A schema on the server that `TEST_POSTGRES_URL` names.
    Postgres,
    /// A database on the server that `TEST_MYSQL_URL` names.
    MySql,
}

/// A migrated database of one test. Gone when it is dropped.
#[derive(Debug)]
pub struct TestDatabase {
    /// A pool of connections to it.
    pub db: DatabaseConnection,
    /// Its address, for other processes and pools.
    pub url: String,
    /// The schema on PostgreSQL; empty elsewhere.
    pub schema: String,
    cleanup: Cleanup,
}

#[derive(Debug)]
enum Cleanup {
    None,
    Folder(#[allow(dead_code, reason = "removed when it is dropped")] TempDir),
    Statement { url: String, sql: String },
}

impl Backend {
    /// `sqlite`, `postgres` or `mysql`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }

    /// The backend of a [`name`](Self::name).
    pub fn named(name: &str) -> Option<Self> {
        [Self::Sqlite, Self::Postgres, Self::MySql].into_iter().find(|store| store.name() == name)
    }

    /// Every backend that can be tested here; the others are named as skipped.
    pub fn available(test: &str) -> Vec<Self> {
        let all = [Self::Sqlite, Self::Postgres, Self::MySql];
        all.into_iter().filter(|backend| backend.is_available(test)).collect()
    }

    /// Whether it can be tested here; if not, says so.
    pub fn is_available(self, test: &str) -> bool {
        let missing = self.variable().filter(|variable| env::var(variable).is_err());
        if let Some(variable) = missing {
            crate::skipped(&format!("{test} on {self:?}"), variable);
        }
        missing.is_none()
    }

    fn variable(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some("TEST_POSTGRES_URL"),
            Self::MySql => Some("TEST_MYSQL_URL"),
        }
    }

    /// The backend that a database URL speaks of.
    pub fn of_url(url: &str) -> Option<Self> {
        match url.split(':').next()? {
            "sqlite" => Some(Self::Sqlite),
            "postgres" | "postgresql" => Some(Self::Postgres),
            "mysql" | "mariadb" => Some(Self::MySql),
            _ => None,
        }
    }

    /// A new database with the crate's tables and an empty ledger.
    pub async fn create(self) -> TestDatabase {
        self.filled(self.create_empty().await).await
    }

    /// The like in the database that a URL names, which has to be empty and is left as it is at the end.
    pub async fn create_at(self, url: &str) -> TestDatabase {
        let (db, schema) = (connect(url, "", CONNECTIONS).await, String::new());
        let database = TestDatabase { db, url: url.to_owned(), schema, cleanup: Cleanup::None };
        self.filled(database).await
    }

    async fn filled(self, database: TestDatabase) -> TestDatabase {
        Migrator::up(&database.db, None).await.expect("the tables are created");
        let id = match self {
            Self::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
            Self::Postgres => "BIGSERIAL PRIMARY KEY",
            Self::MySql => "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
        };
        let ledger =
            format!("CREATE TABLE ledger (id {id}, event_key VARCHAR(255), number BIGINT)");
        database.db.execute_unprepared(&ledger).await.expect("the ledger is created");
        database
    }

    /// A new database without a table.
    pub async fn create_empty(self) -> TestDatabase {
        let name = format!("rustok_test_{}", Uuid::now_v7().simple());
        let Some(variable) = self.variable() else {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let url = format!("sqlite://{}/test.db?mode=rwc", dir.path().display());
            let db = connect(&url, "", CONNECTIONS).await;
            return TestDatabase { db, url, schema: String::new(), cleanup: Cleanup::Folder(dir) };
        };
        let server = env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set"));
        let (create, drop, url, schema) = if self == Self::Postgres {
            (
                format!("CREATE SCHEMA {name}"),
                format!("DROP SCHEMA {name} CASCADE"),
                server.clone(),
                name,
            )
        } else {
            let (base, _) = server.rsplit_once('/').expect("the URL names a database");
            let url = format!("{base}/{name}");
            let create = format!("CREATE DATABASE {name}");
            // A test that failed may have left a transaction open.
            let drop = format!("SET SESSION lock_wait_timeout = 10; DROP DATABASE {name}");
            (create, drop, url, String::new())
        };
        execute(&server, &create).await;
        let db = connect(&url, &schema, CONNECTIONS).await;
        TestDatabase { db, url, schema, cleanup: Cleanup::Statement { url: server, sql: drop } }
    }
}

impl TestDatabase {
    /// The kind of database it is.
    pub fn backend(&self) -> Backend {
        match self.db.get_database_backend() {
            sea_orm::DbBackend::Postgres => Backend::Postgres,
            sea_orm::DbBackend::MySql => Backend::MySql,
            _ => Backend::Sqlite,
        }
    }

    /// Another pool on the same database: what another process has.
    pub async fn connect(&self) -> DatabaseConnection {
        self.connect_with(CONNECTIONS).await
    }

    /// Another pool of so many connections.
    pub async fn connect_with(&self, connections: u32) -> DatabaseConnection {
        connect(&self.url, &self.schema, connections).await
    }

    /// Another pool whose names are looked up in these schemas, on PostgreSQL.
    pub async fn connect_in(&self, schemas: &str) -> DatabaseConnection {
        connect(&self.url, schemas, 1).await
    }

    /// Another pool whose sessions begin with these settings, on PostgreSQL.
    pub async fn connect_set(&self, settings: &'static [(&str, &str)]) -> DatabaseConnection {
        let mut options = options(&self.url, &self.schema, CONNECTIONS);
        options.map_sqlx_postgres_opts(move |options| options.options(settings.iter().copied()));
        connect_by(options).await
    }

    /// What the ledger holds, in the order it was written in.
    pub async fn ledger(&self) -> Vec<(String, i64)> {
        crate::rows(&self.db, "SELECT event_key, number FROM ledger ORDER BY id").await
    }

    /// The number that a query answers with.
    pub async fn count(&self, sql: &str) -> i64 {
        let rows: Vec<(i64,)> = crate::rows(&self.db, sql).await;
        rows.first().expect("the query has a row").0
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Cleanup::Statement { url, sql } = &self.cleanup {
            let (url, sql) = (url.clone(), sql.clone());
            // A test that panics cleans up too, so this cannot be left to the test's own runtime.
            let cleaner = thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(execute(&url, &sql));
            });
            let _ = cleaner.join();
        }
    }
}

pub(crate) async fn connect(url: &str, schema: &str, connections: u32) -> DatabaseConnection {
    connect_by(options(url, schema, connections)).await
}

async fn connect_by(options: ConnectOptions) -> DatabaseConnection {
    let url = options.get_url().to_owned();
    let connected = Database::connect(options).await;
    connected.unwrap_or_else(|error| panic!("{url} cannot be reached: {error}"))
}

fn options(url: &str, schema: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(0)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|options| {
            options
                .journal_mode(sea_orm::sqlx::sqlite::SqliteJournalMode::Wal)
                // A test kills processes, never the machine.
                .synchronous(sea_orm::sqlx::sqlite::SqliteSynchronous::Off)
                .busy_timeout(Duration::from_secs(30))
        })
        // A pool asks a connection that comes back whether it is well, and waits for the answer without end. On MySQL
        // one whose statement was dropped while it was prepared never answers: its place in the pool would be lost.
        .map_sqlx_mysql_pool_opts(|pool| {
            pool.after_release(|connection, _| {
                Box::pin(async move {
                    let answered = tokio::time::timeout(Duration::from_secs(2), connection.ping());
                    Ok(matches!(answered.await, Ok(Ok(()))))
                })
            })
        });
    if !schema.is_empty() {
        options.set_schema_search_path(schema);
    }
    options
}

async fn execute(url: &str, sql: &str) {
    let db = connect(url, "", 1).await;
    db.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    db.close().await.expect("the connection closes");
}
