//! A server that crashes forgets what was not flushed; a dump takes transaction ids to a cluster that counts its
//! own. Both on throw-away clusters of PostgreSQL.

use std::{
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustok_events::{
    Relay, RelayConfig, RelayError, TransactionalEventBus,
    migration::Migrator,
    outbox::{outbox_health, rebase},
    prelude::*,
    testing::{Faults, FaultyTransport, MemoryTransport},
};
use rustok_events_tests::{Backend, Cluster, eventually, rows, skipped_without};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement,
    TransactionTrait,
};
use sea_orm_migration::MigratorTrait;
use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, task::block_in_place};
use tokio_util::sync::CancellationToken;

use crate::{TENANT, arrived, number, publish, publish_alone, relay};

/// A cluster with these settings; `None` where there is no PostgreSQL.
fn cluster(test: &str, settings: &'static [&'static str]) -> Option<Cluster> {
    if !Backend::Postgres.is_available(test) {
        return None;
    }
    let cluster = Cluster::create(settings);
    if cluster.is_none() {
        skipped_without(test, "initdb, postgres, pg_ctl, pg_dump or psql is not there");
    }
    cluster
}

async fn connect(cluster: &Cluster) -> DatabaseConnection {
    let mut options = ConnectOptions::new(cluster.url());
    options.sqlx_logging(false);
    Database::connect(options).await.unwrap()
}

/// From now on the log of writes is flushed, and even handed to the kernel, only by a commit that waits for it: what
/// does so in the background stands still.
async fn stop_flushing(db: &DatabaseConnection) {
    let select = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    let pid = rows::<(i32,)>(db, select).await[0].0.to_string();
    let signal = |signal: &str| {
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.expect("kill runs").success());
    };
    let flush = "BEGIN; SET LOCAL synchronous_commit = on; SELECT pg_logical_emit_message(true, 'test', ''); COMMIT";
    for _ in 0..20 {
        signal("-STOP");
        // Where it was stopped in the middle of a flush, nobody else can flush.
        let flushed = tokio::time::timeout(Duration::from_secs(2), db.execute_unprepared(flush));
        if let Ok(flushed) = flushed.await {
            flushed.unwrap();
            return;
        }
        signal("-CONT");
        // Stopped again at once, it would not have come to the end of that flush.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the process that flushes was in the middle of it each time");
}

async fn has_leases(db: &DatabaseConnection) -> bool {
    let held: Vec<(i64,)> =
        rows(db, "SELECT COUNT(*) FROM rustok_outbox_cursor WHERE owner IS NOT NULL").await;
    held[0].0 > 0
}

/// A relay that publishes what it sees.
async fn read_all(db: &DatabaseConnection) -> Vec<u32> {
    let read: Vec<(Vec<u8>,)> = rows(db, "SELECT payload FROM rustok_outbox ORDER BY id").await;
    read.iter().map(|(payload,)| number(payload)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_not_flushed_and_a_server_that_crashes() {
    let settings = &["synchronous_commit=off"];
    let Some(mut cluster) = cluster("a_commit_that_was_not_flushed", settings) else { return };
    let (db, transport) = (connect(&cluster).await, MemoryTransport::new());
    Migrator::up(&db, None).await.unwrap();
    publish_alone(&db, "a", 1).await;
    relay(&db, &transport).drain().await.unwrap();
    assert_eq!(arrived(&transport), [1]);
    stop_flushing(&db).await;
    publish_alone(&db, "a", 2).await;
    let naive = read_all(&db).await;
    assert_eq!(naive, [1, 2], "a relay that publishes what it sees has published it");
    cluster.kill();
    drop(db);

    cluster.start();
    let db = connect(&cluster).await;
    assert_eq!(read_all(&db).await, [1], "and it never happened");
    // The crashed transaction's place is taken by others, while a relay is at work that takes no lease meanwhile: that
    // would flush them too.
    let running = tokio::spawn(relay(&db, &transport).run(CancellationToken::new()));
    eventually(|| async { has_leases(&db).await }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop_flushing(&db).await;
    publish_alone(&db, "a", 3).await;
    eventually(|| async { arrived(&transport) == [1, 3] }).await;
    cluster.kill();
    running.abort();

    cluster.start();
    let db = connect(&cluster).await;
    assert_eq!(read_all(&db).await, [1, 3], "what was published has happened");
}

/// Takes 4 MiB of the log of writes, since it cannot be compressed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "test", topic = "numbers", partition_key = key, partitions = 1)]
struct Heavy {
    key: String,
    number: u32,
    text: String,
}

impl Heavy {
    fn new(number: u32) -> Self {
        let mut state = u64::from(number);
        let chars = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'0' + u8::try_from(state >> 58).expect("six bits"))
        });
        Self { key: "a".to_owned(), number, text: chars.take(4 << 20).collect() }
    }
}

async fn place(db: &impl ConnectionTrait, which: &str) -> i64 {
    let select = format!("SELECT (pg_current_wal_{which}_lsn() - '0/0')::bigint AS place");
    let found = db.query_one_raw(Statement::from_string(DbBackend::Postgres, select)).await;
    found.unwrap().unwrap().try_get("", "place").unwrap()
}

/// A look that is cut off for its size flushes nothing by its own end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_not_flushed_and_more_events_than_are_read_at_once() {
    const EVENTS: u32 = 12;
    let settings = &["synchronous_commit=off"];
    let Some(cluster) = cluster("more_events_than_are_read_at_once", settings) else { return };
    let (db, broker) = (connect(&cluster).await, MemoryTransport::new());
    Migrator::up(&db, None).await.unwrap();
    // How far the log of writes goes before the commit, and whether it is flushed so far when the first event goes out.
    let (written, is_flushed) = <(Arc<OnceLock<i64>>, Arc<OnceLock<bool>>)>::default();
    let (upto, flushed, asked) = (Arc::clone(&written), Arc::clone(&is_flushed), db.clone());
    let transport = FaultyTransport::new(broker.clone(), Faults::none()).refusing(move |_| {
        if let Some(written) = upto.get() {
            let ask = || Handle::current().block_on(place(&asked, "flush"));
            flushed.get_or_init(|| block_in_place(ask) >= *written);
        }
        false
    });
    let stop = CancellationToken::new();
    let relay = Relay::new(db.clone(), transport, RelayConfig::default());
    let running = tokio::spawn(relay.run(stop.clone()));
    publish_alone(&db, "a", 0).await;
    eventually(|| async { arrived(&broker) == [0] }).await;
    stop_flushing(&db).await;

    let txn = db.begin().await.unwrap();
    let events = (1..=EVENTS).map(Heavy::new);
    TransactionalEventBus::new().publish_all_in_tx(&txn, TENANT, None, events).await.unwrap();
    written.set(place(&txn, "insert").await).unwrap();
    txn.commit().await.unwrap();
    eventually(|| async { is_flushed.get().is_some() }).await;
    assert_eq!(is_flushed.get(), Some(&true), "it could have been forgotten");
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_restored_into_a_new_cluster() {
    let Some(mut cluster) = cluster("a_dump_restored_into_a_new_cluster", &[]) else { return };
    let (db, transport) = (connect(&cluster).await, MemoryTransport::new());
    Migrator::up(&db, None).await.unwrap();
    // The cluster has seen many more transactions than a new one.
    let transactions = "DO $$ BEGIN FOR i IN 1..20000 LOOP
        PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$";
    db.execute_unprepared(transactions).await.unwrap();
    for number in 1..=3 {
        publish_alone(&db, "a", number).await;
    }
    relay(&db, &transport).drain().await.unwrap();
    let published: Vec<(String,)> = rows(&db, "SELECT pg_current_snapshot()::text").await;
    publish_alone(&db, "a", 4).await;
    let dump = cluster.dump();
    // This one is at work while the server is replaced, and finds its leases in the dump.
    let running = tokio::spawn(relay(&db, &transport).run(CancellationToken::new()));
    eventually(|| async { arrived(&transport).len() == 4 }).await;

    cluster.replace(&dump);
    publish_alone(&connect(&cluster).await, "a", 5).await;
    let ended = tokio::time::timeout(Duration::from_mins(1), running).await;
    let ended = ended.expect("it notices").unwrap();
    assert!(matches!(ended, Err(RelayError::Cluster(_))), "{ended:?}");
    let db = connect(&cluster).await;
    // In a savepoint, which has a number of its own.
    let txn = db.begin().await.unwrap();
    let savepoint = txn.begin().await.unwrap();
    publish(&savepoint, "a", 6).await;
    savepoint.commit().await.unwrap();
    txn.commit().await.unwrap();
    let waiting = format!(
        "SELECT payload FROM rustok_outbox WHERE NOT pg_visible_in_snapshot(txid, '{}')",
        published[0].0
    );
    let naive: Vec<(Vec<u8>,)> = rows(&db, &waiting).await;
    let naive: Vec<u32> = naive.iter().map(|(payload,)| number(payload)).collect();
    assert_eq!(naive, [4], "a relay that goes on from its snapshot never sees what is new");

    let refused = relay(&db, &transport).drain().await;
    assert!(matches!(refused, Err(RelayError::Cluster(_))), "{refused:?}");
    let refused = relay(&db, &transport).clean_up().await;
    assert!(refused.is_err_and(|error| error.to_string().contains("outbox::rebase")));
    assert!(!outbox_health(&db).await.is_healthy());
    // A transaction that has its number, but not yet its event: it need not be stopped.
    let open = db.begin().await.unwrap();
    open.execute_unprepared("SELECT pg_current_xact_id()").await.unwrap();
    rebase(&db).await.unwrap();
    publish_alone(&db, "a", 7).await;
    publish(&open, "a", 8).await;
    open.commit().await.unwrap();
    assert_eq!(relay(&db, &transport).drain().await.unwrap().published, 5);
    assert_eq!(arrived(&transport), [1, 2, 3, 4, 5, 6, 7, 8]);
}
