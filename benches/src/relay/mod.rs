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

use anyhow::Result;

use self::floor::{Floor, MariaDbFloor, PostgresFloor, SqliteFloor};
use crate::{
    database::Server,
    figure::{Figure, is_named},
};

/// What is printed, and how thoroughly.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Three short pairs a figure: to see that it runs.
    #[arg(long)]
    quick: bool,
    /// Also what takes minutes: five million events that wait, and five million that are kept.
    #[arg(long)]
    full: bool,
    /// Only the cells whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only the databases whose name contains this, such as `postgresql`.
    #[arg(long, value_name = "NAME")]
    database: Vec<String>,
}

impl Options {
    /// How many pairs a short cell takes.
    fn pairs(&self) -> usize {
        if self.quick { 3 } else { 15 }
    }

    fn wants(&self, cell: &str) -> bool {
        is_named(cell, &self.only)
    }

    fn wants_database(&self, server: Server) -> bool {
        is_named(server.name(), &self.database)
    }

    /// Prints a figure as soon as it is there.
    fn print(&self, figure: &Figure) {
        figure.print(self.json);
    }
}

/// Measures and prints.
pub(crate) async fn run(options: Options) -> Result<()> {
    if !options.json {
        println!("{}", Figure::header("database", "ours", "hand-written"));
    }
    let servers = [
        Server::Postgres { synchronous: true },
        Server::Postgres { synchronous: false },
        Server::MariaDb,
        Server::Sqlite,
    ];
    for server in servers {
        if options.wants_database(server) && server.is_available() {
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
