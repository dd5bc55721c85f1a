//! Orders in, events out, handlers behind them.
//!
//! ```text
//! orders.jsonl ─▶ order + OrderPlaced ─▶ outbox ─▶ relay ─▶ Iggy ─┬▶ index_order ─▶ search table, OrderIndexed
//!                 └ one transaction ┘                             └▶ add_to_total ─▶ running totals
//! ```
//!
//! Interrupt it, kill it, start it again: it goes on where it was, and its last line says what was lost (nothing)
//! and what was done twice (nothing).

#![allow(unreachable_pub, reason = "nothing of a program is reachable from outside")]

mod events;
mod handlers;
mod orders;
mod report;
mod tables;

use std::{
    io::{IsTerminal, Write, stderr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Parser;
use rustok_events::{
    EventRuntime, RelayConfig, TransactionalEventBus,
    iggy::{IggyConfig, IggyMode, IggyTransport},
    migration::Migrator,
};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};
use sea_orm_migration::MigratorTrait;
use tokio_util::sync::CancellationToken;

/// With nothing new for this long, the program says what it waits for and gives up.
const STALL: Duration = Duration::from_mins(1);

/// Places orders, and follows their events to the handlers.
#[derive(Debug, Parser)]
struct Args {
    /// Orders, one JSON object a line. Default: 1,200 orders that come with the program.
    file: Option<PathBuf>,
    /// Where the database and the embedded broker keep their data.
    #[arg(long, default_value = "data/quickstart")]
    data: PathBuf,
    /// A real Iggy server instead of the embedded broker, such as 127.0.0.1:8090.
    #[arg(long, value_name = "ADDRESS")]
    iggy: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quickstart: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let file = args
        .file
        .clone()
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join("orders.jsonl"));
    std::fs::create_dir_all(&args.data)
        .with_context(|| format!("cannot create {}", args.data.display()))?;
    let db = connect(&args.data.join("quickstart.db")).await?;
    Migrator::up(&db, None).await?;
    tables::create(&db).await?;
    let transport = IggyTransport::new(iggy_config(&args)).await?;

    let stop = CancellationToken::new();
    let interrupted = interrupt(stop.clone());
    let runtime = EventRuntime::builder(db.clone())
        .transport(transport.clone())
        // After a kill the next run waits for the lease of the killed one: keep it short. The last line is counted
        // from the outbox: keep what was published, however late the program is started again.
        .relay(
            RelayConfig::default()
                .lease(Duration::from_secs(2))
                .replay_window(Duration::from_hours(24 * 365 * 10)),
        )
        .handler(handlers::index_order)
        .handler(handlers::add_to_total)
        .handler(handlers::note_indexed)
        .build()?;
    let bus = runtime.bus();
    let mut runtime = tokio::spawn(runtime.run(stop.clone()));
    let worked = tokio::select! {
        worked = work(&db, &bus, &file, &stop) => worked,
        ended = &mut runtime => {
            ended??;
            bail!("the runtime ended early");
        }
    };
    stop.cancel();
    runtime.await??;
    transport.shutdown().await?;
    worked?;

    let report = report::count(&db).await?;
    print_top_customers(&db).await?;
    println!("{report}");
    if interrupted.is_finished() {
        eprintln!("interrupted; start it again to go on");
        return Ok(ExitCode::from(130));
    }
    Ok(ExitCode::SUCCESS)
}

/// Places the orders, then waits until every event has its results.
async fn work(
    db: &DatabaseConnection,
    bus: &TransactionalEventBus,
    file: &Path,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let terminal = stderr().is_terminal();
    let placed = orders::place_all(db, bus, file, stop, |placed| {
        let lines = placed.now + placed.before + placed.bad;
        if terminal && lines.is_multiple_of(50) {
            eprint!("\r{lines} lines read, {} orders placed", placed.now);
            let _ = stderr().flush();
        }
    })
    .await?;
    if terminal {
        eprintln!();
    }
    eprintln!(
        "{} orders placed, {} were placed before, {} lines skipped",
        placed.now, placed.before, placed.bad
    );
    let mut last = report::count(db).await?;
    let mut changed = Instant::now();
    while !last.is_finished() && !stop.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let report = report::count(db).await?;
        if terminal {
            eprint!("\r{} of {} results missing ", report.lost, report.handled + report.lost);
            let _ = stderr().flush();
        }
        if report != last {
            last = report;
            changed = Instant::now();
        } else if changed.elapsed() > STALL {
            bail!("nothing moved for {} s: {last}", STALL.as_secs());
        }
    }
    if terminal {
        eprintln!();
    }
    Ok(())
}

/// Ctrl-C stops everything in good order; the handle is finished once it was pressed.
fn interrupt(stop: CancellationToken) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        } else {
            std::future::pending::<()>().await;
        }
    })
}

async fn connect(path: &Path) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", path.display()));
    options.sqlx_logging(false).map_sqlx_sqlite_opts(|options| {
        options
            .journal_mode(sea_orm::sqlx::sqlite::SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(30))
    });
    Database::connect(options).await.with_context(|| format!("cannot open {}", path.display()))
}

fn iggy_config(args: &Args) -> IggyConfig {
    let mut config = IggyConfig::default();
    match &args.iggy {
        None => config.embedded.data_dir = args.data.join("iggy").display().to_string(),
        Some(address) => {
            config.mode = IggyMode::Remote;
            config.remote.addresses = vec![address.clone()];
        }
    }
    config
}

async fn print_top_customers(db: &DatabaseConnection) -> anyhow::Result<()> {
    println!("{:<16} {:>7} {:>12}", "customer", "orders", "total");
    for customer in report::top_customers(db).await? {
        let (euros, cents) = (customer.total_cents / 100, customer.total_cents % 100);
        println!("{:<16} {:>7} {euros:>9}.{cents:02}", customer.customer_id, customer.orders);
    }
    Ok(())
}
