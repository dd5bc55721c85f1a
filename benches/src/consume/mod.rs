//! The consumers, against a loop written by hand over the SDK's consumer that does the same SQL.
//!
//! ```text
//!                       ┌▶ ours: ConsumerRuntime, a typed handler
//! topic, filled once ───┤                                          both to the same database
//!                       └▶ by hand: IggyConsumer, decode, transaction, store the offset
//! ```
//!
//! Both read all of the topic from an embedded broker over TCP. The loop stores an offset after each batch, as a loop
//! without loss must; it decodes the payload and nothing of the envelope.

mod floor;
mod ours;
mod topic;

use anyhow::{Result, ensure};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use self::topic::Topic;
use crate::{
    database::{Place, Server},
    figure::Figure,
    pairs::Pairs,
    selection::{Databases, Selection},
};

/// What is printed, and how thoroughly.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    databases: Databases,
}

/// What the handler of a cell does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// `inbox = none`, and nothing but counting: what the library costs without a database.
    Counting,
    /// `inbox = none`, one row written for each event on a connection of its own.
    Detached,
    /// The inbox, and one row for each event.
    Single,
    /// The inbox, and one statement for a batch.
    Batch,
}

impl Work {
    const ALL: [Self; 4] = [Self::Detached, Self::Single, Self::Batch, Self::Counting];

    fn name(self) -> &'static str {
        match self {
            Self::Counting => "inbox = none, no SQL",
            Self::Detached => "inbox = none, a row each",
            Self::Single => "inbox, a row each",
            Self::Batch => "inbox, a batch at once",
        }
    }

    fn target(self) -> f64 {
        if self.has_inbox() { 0.8 } else { 0.85 }
    }

    fn has_inbox(self) -> bool {
        matches!(self, Self::Single | Self::Batch)
    }

    /// The pool that effects are written through where the handler has no transaction. SQLite has one writer: more
    /// connections would only wait in its busy handler.
    async fn pool(self, place: &Place) -> Result<DatabaseConnection> {
        match (self, place.server) {
            (Self::Detached, Server::Sqlite) => place.connect(1).await,
            _ => Ok(place.db.clone()),
        }
    }

    /// How many events one run takes.
    fn events(self, server: Server) -> u64 {
        match (self, server) {
            (Self::Counting, _) => 200_000,
            (Self::Batch, _) => 100_000,
            (Self::Detached, _) => 5_000,
            (Self::Single, Server::MariaDb) => 10_000,
            (Self::Single, _) => 20_000,
        }
    }
}

/// Measures and prints.
pub(crate) async fn run(options: Options) -> Result<()> {
    let Options { selection, databases } = options;
    selection.header("database", "ours", "hand-written");
    for work in Work::ALL.into_iter().filter(|work| selection.wants(work.name())) {
        for server in [Server::Sqlite, Server::Postgres { synchronous: true }, Server::MariaDb] {
            // Without SQL they are all the same.
            if (work == Work::Counting && server != Server::Sqlite) || !databases.want(server) {
                continue;
            }
            selection.print(&measure(server, work, selection.pairs()).await?);
        }
    }
    Ok(())
}

async fn measure(server: Server, work: Work, count: usize) -> Result<Figure> {
    let events = work.events(server);
    let topic = Topic::fill(events).await?;
    let place = Place::create(server).await?;
    floor::tables(&place).await?;
    let mut pairs = Pairs::default();
    // The first pair only opens connections and warms caches.
    for pair in 0..=count {
        let (mut ours, mut hand) = (0.0, 0.0);
        for turn in 0..2 {
            clear(&place).await?;
            if turn == pair % 2 {
                ours = ours::run(&place, &topic, work).await?;
            } else {
                hand = floor::run(&place, &topic, work).await?;
            }
            if work != Work::Counting {
                ensure!(effects(&place).await? == events, "not every event has one effect");
            }
        }
        if pair > 0 {
            pairs.push(ours, hand);
        }
    }
    place.remove().await?;
    topic.remove().await?;
    Ok(Figure::new(server.name(), work.name(), "events/s", &pairs).target(work.target()))
}

async fn clear(place: &Place) -> Result<()> {
    for table in ["orders", "rustok_inbox", "by_hand_inbox"] {
        let sql = match place.server {
            Server::Sqlite => format!("DELETE FROM {table}"),
            _ => format!("TRUNCATE TABLE {table}"),
        };
        place.db.execute_unprepared(&sql).await?;
    }
    Ok(())
}

async fn effects(place: &Place) -> Result<u64> {
    let backend = place.db.get_database_backend();
    let sql = "SELECT COUNT(DISTINCT amount) AS events, COUNT(*) AS effects FROM orders";
    let row = place.db.query_one_raw(Statement::from_string(backend, sql)).await?;
    let row = row.ok_or_else(|| anyhow::anyhow!("COUNT has no row"))?;
    let (events, effects): (i64, i64) = (row.try_get("", "events")?, row.try_get("", "effects")?);
    ensure!(events == effects, "an event has two effects");
    Ok(events.unsigned_abs())
}

/// `INSERT` of so many effects.
fn insert(backend: sea_orm::DbBackend, rows: usize) -> String {
    use std::fmt::Write as _;
    let mut sql = String::from("INSERT INTO orders (customer, amount) VALUES ");
    for row in 0..rows {
        let comma = if row == 0 { "" } else { ", " };
        let _ = match backend {
            sea_orm::DbBackend::Postgres => {
                write!(sql, "{comma}(${}, ${})", 2 * row + 1, 2 * row + 2)
            }
            _ => write!(sql, "{comma}(?, ?)"),
        };
    }
    sql
}

/// Writes the effects of events, the same way on both sides.
async fn write<'s>(
    connection: &impl ConnectionTrait,
    samples: impl ExactSizeIterator<Item = &'s crate::sample::Sample>,
) -> Result<(), sea_orm::DbErr> {
    let backend = connection.get_database_backend();
    let sql = insert(backend, samples.len());
    let values = samples.flat_map(|sample| {
        let amount = i64::try_from(sample.number()).unwrap_or(i64::MAX);
        [sample.key().into(), amount.into()]
    });
    connection.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(())
}
