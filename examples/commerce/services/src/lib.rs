//! What both services share: how they reach the database and the broker.

use std::{path::Path, time::Duration};

use anyhow::Context;
use rustok_events::{
    iggy::{IggyConfig, IggyMode},
    migration::Migrator,
};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, sqlx::sqlite::SqliteJournalMode};
use sea_orm_migration::MigratorTrait;

/// Options of both services.
#[derive(Debug, Clone, clap::Args)]
pub struct Shared {
    /// The database that both services use.
    #[arg(
        long,
        env = "DATABASE_URL",
        default_value = "sqlite://data/commerce/commerce.db?mode=rwc"
    )]
    pub database: String,
    /// The Iggy server.
    #[arg(long, env = "IGGY_ADDRESS", default_value = "127.0.0.1:8090")]
    pub iggy: String,
}

impl Shared {
    /// Opens the database and brings this SDK's tables up to date. Several instances may do so at once.
    ///
    /// # Errors
    /// What the database said.
    pub async fn connect(&self) -> anyhow::Result<DatabaseConnection> {
        if let Some(path) = self.database.strip_prefix("sqlite://")
            && let Some(folder) = Path::new(path.split('?').next().unwrap_or(path)).parent()
        {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let mut options = ConnectOptions::new(&self.database);
        options.sqlx_logging(false).map_sqlx_sqlite_opts(|options| {
            options.journal_mode(SqliteJournalMode::Wal).busy_timeout(Duration::from_secs(30))
        });
        let db = Database::connect(options)
            .await
            .with_context(|| format!("cannot open {}", self.database))?;
        Migrator::up(&db, None).await?;
        Ok(db)
    }

    /// A server of its own, shared by both services.
    pub fn remote(&self) -> IggyConfig {
        let mut config = IggyConfig { mode: IggyMode::Remote, ..IggyConfig::default() };
        config.remote.addresses = vec![self.iggy.clone()];
        config
    }

    /// The broker within this process, on the port where the other service looks for it.
    ///
    /// # Errors
    /// The address has no port.
    pub fn embedded(&self, data_dir: &Path) -> anyhow::Result<IggyConfig> {
        let mut config = IggyConfig::default();
        let port = self.iggy.rsplit(':').next().unwrap_or_default();
        config.embedded.tcp_port =
            port.parse().with_context(|| format!("`{}` has no port", self.iggy))?;
        config.embedded.data_dir = data_dir.display().to_string();
        Ok(config)
    }
}

/// Ctrl-C or, where there is one, a polite kill.
pub async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
