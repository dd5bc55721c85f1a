//! The outbox and the relay, against hand-written SQL over `sqlx` on the same database.

mod backlog;
mod clients;
mod floor;
mod iggy;
mod latency;
mod ours;
mod pool;
mod producers;
mod publish;
mod seaorm;

use std::ops::Deref;

use anyhow::Result;

use self::floor::{Floor, MariaDbFloor, PostgresFloor, SqliteFloor};
use crate::{
    database::Server,
    selection::{Databases, Selection},
};

/// What is printed, and how thoroughly.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    selection: Selection,
    /// Also what takes minutes: five million events that wait, and five million that are kept.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    databases: Databases,
}

impl Deref for Options {
    type Target = Selection;

    fn deref(&self) -> &Selection {
        &self.selection
    }
}

/// Measures and prints.
pub(crate) async fn run(options: Options) -> Result<()> {
    options.header("database", "ours", "hand-written");
    let servers = [
        Server::Postgres { synchronous: true },
        Server::Postgres { synchronous: false },
        Server::MariaDb,
        Server::Sqlite,
    ];
    for server in servers {
        if options.databases.want(server) {
            match server {
                Server::Postgres { .. } => cells::<PostgresFloor>(server, &options).await?,
                Server::MariaDb => cells::<MariaDbFloor>(server, &options).await?,
                Server::Sqlite => cells::<SqliteFloor>(server, &options).await?,
            }
        }
    }
    Ok(())
}

async fn cells<F: Floor>(server: Server, options: &Options) -> Result<()> {
    publish::measure::<F>(server, options).await?;
    backlog::measure::<F>(server, options).await?;
    iggy::measure::<F>(server, options).await?;
    producers::measure::<F>(server, options).await?;
    latency::measure::<F>(server, options).await?;
    pool::measure(server, options).await
}
