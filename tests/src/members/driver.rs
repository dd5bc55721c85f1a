//! The driver: publishes and relays, kills and starts again, waits for the rest and counts.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustok_events::{BoxError, Relay, RelayConfig, TransactionalEventBus};
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{KEYS, Report, Step, worker};
use crate::{Backend, TestDatabase};

/// How long the rest may take once nobody is killed any more.
const PATIENCE: Duration = Duration::from_mins(1);
/// Events in one transaction.
const BATCH: usize = 10;

/// What to run, and how long.
#[derive(Debug)]
pub struct Options {
    /// The program that takes the words `broker` and `consumer`.
    pub program: PathBuf,
    /// How long events flow and processes are killed.
    pub length: Duration,
    /// The shortest and the longest pause between two kills.
    pub pauses: (Duration, Duration),
    /// Decides who is killed when.
    pub seed: u64,
}

/// Runs, and counts from the tables.
///
/// # Errors
/// Whatever ends a process that was not killed, and a broker or database that cannot be used.
pub async fn run(options: &Options, database: &TestDatabase) -> Result<Report, BoxError> {
    tables(database).await?;
    let folder = tempfile::tempdir()?;
    let (broker, address) = start_broker(&options.program, folder.path()).await?;
    let stop = CancellationToken::new();
    let relay = Relay::new(
        database.connect().await,
        worker::transport(address).await?,
        RelayConfig::default(),
    );
    let relay = tokio::spawn(relay.run(stop.clone()));
    let mut members = [
        start_member(&options.program, address, database)?,
        start_member(&options.program, address, database)?,
    ];
    let publishing = CancellationToken::new();
    let publisher = tokio::spawn(publish(database.connect().await, publishing.clone()));
    let mut chance = Chance(options.seed | 1);
    let (deadline, mut kills) = (Instant::now() + options.length, 0);
    let (min, max) = options.pauses;
    loop {
        let pause = min + max.saturating_sub(min).mul_f64(chance.next());
        if Instant::now() + pause >= deadline {
            break;
        }
        tokio::time::sleep(pause).await;
        let member = &mut members[usize::from(chance.next() < 0.5)];
        is_running(member)?;
        member.kill().await?;
        kills += 1;
        *member = start_member(&options.program, address, database)?;
    }
    tokio::time::sleep_until(deadline).await;
    publishing.cancel();
    publisher.await??;
    let patience = Instant::now() + PATIENCE;
    let report = loop {
        let report = Report::count(&database.db, kills).await;
        if report.lost == 0 || Instant::now() > patience {
            break report;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    for mut member in members {
        is_running(&mut member)?;
        // Without its input it stops by itself.
        drop(member.stdin.take());
        member.wait().await?;
    }
    stop.cancel();
    relay.await??;
    drop(broker);
    // What came after everything was there would be too much.
    Ok(Report { lost: report.lost, ..Report::count(&database.db, kills).await })
}

async fn tables(database: &TestDatabase) -> Result<(), BoxError> {
    let id = match database.backend() {
        Backend::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
        Backend::Postgres => "BIGSERIAL PRIMARY KEY",
        Backend::MySql => "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
    };
    let columns = "event_key VARCHAR(64) NOT NULL, number BIGINT NOT NULL";
    for table in [
        format!("CREATE TABLE published ({columns})"),
        format!("CREATE TABLE effects (id {id}, kind VARCHAR(8) NOT NULL, {columns})"),
    ] {
        database.db.execute_unprepared(&table).await?;
    }
    Ok(())
}

async fn start_broker(program: &Path, folder: &Path) -> Result<(Child, SocketAddr), BoxError> {
    let mut child = Command::new(program)
        .arg("broker")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().ok_or("the broker has no output")?;
    let line = BufReader::new(output).lines().next_line().await?;
    let address = line.ok_or("the broker did not start")?.parse()?;
    Ok((child, address))
}

fn start_member(
    program: &Path,
    broker: SocketAddr,
    database: &TestDatabase,
) -> Result<Child, BoxError> {
    Ok(Command::new(program)
        .arg("consumer")
        .arg(broker.to_string())
        .args([&database.url, &database.schema])
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?)
}

/// A member that ended by itself is a failure of its own.
fn is_running(member: &mut Child) -> Result<(), BoxError> {
    match member.try_wait()? {
        None => Ok(()),
        Some(status) => Err(format!("a consumer ended by itself: {status}").into()),
    }
}

/// Publishes, each key in its order, until told to end.
async fn publish(db: sea_orm::DatabaseConnection, stop: CancellationToken) -> Result<(), BoxError> {
    let bus = TransactionalEventBus::new();
    let mut number = 0_usize;
    while !stop.is_cancelled() {
        let events: Vec<Step> = (number..number + BATCH)
            .map(|number| Step {
                key: format!("key-{}", number % KEYS),
                number: i64::try_from(number).unwrap_or(i64::MAX),
            })
            .collect();
        number += BATCH;
        let rows: Vec<String> =
            events.iter().map(|event| format!("('{}', {})", event.key, event.number)).collect();
        let sql = format!("INSERT INTO published (event_key, number) VALUES {}", rows.join(", "));
        let txn = db.begin().await?;
        txn.execute_unprepared(&sql).await?;
        bus.publish_all_in_tx(&txn, Uuid::from_u128(1), None, events).await?;
        bus.commit(txn).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Numbers from 0 to 1, as good as any (xorshift64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}
