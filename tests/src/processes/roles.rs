//! What each process does until it is killed.

use std::time::{Duration, Instant};

use rustok_events::{
    ConsumerRuntime, Relay, RelayConfig,
    iggy::{IggyConfig, IggyMode, IggyTransport},
    outbox::CommitError,
    prelude::*,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement, TransactionTrait};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Draw, KEYS, Place, Role, Tick,
    ledger::{Ledger, Outcome},
};

const TENANT: Uuid = Uuid::from_u128(1);
/// So few that most windows have many pages.
const PAGE: u64 = 3;
/// Short, so that a killed relay is soon succeeded.
const LEASE: Duration = Duration::from_millis(1500);
/// One transaction in so many has many events of one key.
const BURST_EVERY: u64 = 8;
/// How many.
const BURST: i64 = 150;

pub(super) async fn play(role: Role, number: u64, place: Place) {
    match role {
        Role::Broker => broker(&place).await,
        Role::Writer => write(&place, number).await,
        Role::Relay => relay(&place).await,
        Role::Consumer => consume(&place).await,
    }
}

async fn broker(place: &Place) {
    let mut config = IggyConfig::default();
    config.embedded.data_dir = place.folder.join("broker").display().to_string();
    let port = place.broker.rsplit(':').next().and_then(|port| port.parse().ok());
    config.embedded.tcp_port = port.expect("the broker's port");
    let _transport = IggyTransport::new(config).await.expect("the broker starts");
    std::future::pending::<()>().await;
}

/// A connection to the broker, as soon as it can be reached.
async fn transport(place: &Place) -> IggyTransport {
    let mut config = IggyConfig { mode: IggyMode::Remote, ..IggyConfig::default() };
    config.remote.addresses = vec![place.broker.clone()];
    loop {
        match IggyTransport::new(config.clone()).await {
            Ok(transport) => return transport,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn relay(place: &Place) {
    let (db, transport) = (place.database(6).await, transport(place).await);
    let mut config = RelayConfig::default().page_size(PAGE).lease(LEASE);
    config.lanes = 4;
    let ended = Relay::new(db, transport, config).run(CancellationToken::new()).await;
    panic!("the relay ended by itself: {ended:?}");
}

async fn consume(place: &Place) {
    let (db, transport) = (place.database(12).await, transport(place).await);
    let consumers = ConsumerRuntime::builder(db, transport).handler(take).build();
    let ended = consumers.expect("the consumers fit").run(CancellationToken::new()).await;
    panic!("the consumers ended by themselves: {ended:?}");
}

/// Writes each event down. Nothing in the table keeps an event from being written twice.
#[event_handler(group = "effects")]
async fn take<S>(ctx: &mut HandlerContext<'_, S>, ticks: Batch<Tick>) -> HandlerResult {
    let rows: Vec<String> = ticks
        .iter()
        .map(|tick| format!("({}, {}, '{}')", tick.event.event_key, tick.event.number, tick.id()))
        .collect();
    let insert =
        format!("INSERT INTO effects (event_key, number, event_id) VALUES {}", rows.join(", "));
    ctx.tx().execute_unprepared(&insert).await?;
    Ok(())
}

async fn write(place: &Place, number: u64) {
    let db = place.database(1).await;
    let process = format!("writer-{number}");
    let mut ledger = Ledger::open(&place.folder, &process);
    // Another life, another course.
    let mut draw = Draw(Uuid::now_v7().as_u64_pair().1 ^ number);
    let bus = TransactionalEventBus::new();
    loop {
        let begun = Instant::now();
        match transaction(&db, &bus, &mut ledger, &mut draw).await {
            Ok(events) => {
                let due = Duration::from_micros(events * 1_000_000 / place.rate_per_writer.max(1));
                tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
            }
            // Nothing was meant to be committed yet: the database is away, or was.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One transaction: takes numbers of some keys and publishes them. An error came before the intent.
async fn transaction(
    db: &DatabaseConnection,
    bus: &TransactionalEventBus,
    ledger: &mut Ledger,
    draw: &mut Draw,
) -> Result<u64, rustok_events::BoxError> {
    let id = Uuid::now_v7();
    let mut keys: Vec<(i64, i64)> = if draw.below(BURST_EVERY) == 0 {
        vec![(key(draw), BURST)]
    } else {
        (0..3).map(|_| (key(draw), 1 + i64::try_from(draw.below(5)).unwrap_or(0))).collect()
    };
    // Everybody locks in one order.
    keys.sort_unstable();
    keys.dedup_by_key(|(key, _)| *key);
    let txn = db.begin().await?;
    let mut events = 0;
    for (key, count) in keys {
        let last = take_numbers(&txn, id, key, count).await?;
        let ticks = (last - count + 1..=last).map(|number| Tick { event_key: key, number });
        bus.publish_all_in_tx(&txn, TENANT, None, ticks).await?;
        events += count.unsigned_abs();
    }
    ledger.intend(id, events);
    let outcome = match bus.commit(txn).await {
        Ok(()) => Outcome::Committed,
        Err(CommitError::Refused(_)) => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    };
    ledger.settle(id, outcome);
    Ok(events)
}

fn key(draw: &mut Draw) -> i64 {
    i64::try_from(draw.below(KEYS)).unwrap_or(0)
}

/// The last of the next `count` numbers of a key, which stays locked until the transaction ends.
async fn take_numbers(
    txn: &sea_orm::DatabaseTransaction,
    id: Uuid,
    key: i64,
    count: i64,
) -> Result<i64, DbErr> {
    let update = format!(
        "UPDATE counters SET number = number + {count} WHERE event_key = {key} RETURNING number"
    );
    let row = txn.query_one_raw(Statement::from_string(DbBackend::Postgres, update)).await?;
    let last: i64 =
        row.ok_or_else(|| DbErr::RecordNotFound(update_of(key)))?.try_get("", "number")?;
    let insert = format!(
        "INSERT INTO written (txn, event_key, first, last) VALUES ('{id}', {key}, {}, {last})",
        last - count + 1
    );
    txn.execute_unprepared(&insert).await?;
    Ok(last)
}

fn update_of(key: i64) -> String {
    format!("the counter of key {key}")
}
