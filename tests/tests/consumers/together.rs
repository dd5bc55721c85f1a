//! Events of several partitions in one transaction, where the database has one writer.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustok_events::{ConsumerConfig, ConsumerError, ConsumerRuntime, prelude::*};
use rustok_events_tests::{Backend, TestDatabase, eventually};
use sea_orm::DatabaseConnection;
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    batches::published,
    domain::{ALWAYS, App, of_key, record},
};

const PARTITIONS: usize = 8;
const KEYS: i64 = 40;

/// An event of a topic with many partitions.
#[derive(Debug, Clone, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "test", topic = "wide", partition_key = key, partitions = 8)]
struct Wide {
    key: String,
    number: i64,
}

struct Sharing {
    app: App,
    db: DatabaseConnection,
    gate: Semaphore,
    /// How much others saw of the ledger at each call: as many numbers as there were transactions.
    committed: Mutex<HashSet<i64>>,
}

/// Waits at its first call until it is let go; looks from outside what is committed.
#[event_handler(group = "sharers", retry(attempts = 2, min = "20s", max = "20s"))]
async fn share(ctx: &mut HandlerContext<'_, Arc<Sharing>>, event: Wide) -> HandlerResult {
    let state = Arc::clone(ctx.state());
    state.gate.acquire().await?.forget();
    state.gate.add_permits(1);
    let committed = rustok_events_tests::rows(&state.db, "SELECT COUNT(*) FROM ledger").await;
    let [(committed,)] = committed[..] else { return Err("COUNT has one row".into()) };
    state.committed.lock().unwrap().insert(committed);
    record(ctx.tx(), &event.key, event.number).await?;
    state.app.check(event.number)?;
    Ok(())
}

struct Running {
    state: Arc<Sharing>,
    token: CancellationToken,
    task: JoinHandle<Result<(), ConsumerError>>,
}

/// Two events of each key lie at the broker when the handler begins.
async fn start(database: &TestDatabase, prepare: impl FnOnce(&Sharing)) -> Running {
    let wide = |number| Wide { key: format!("k{}", number % KEYS), number };
    let transport = published(database, (0..2 * KEYS).map(wide)).await;
    let state = Arc::new(Sharing {
        app: App::default(),
        db: database.db.clone(),
        gate: Semaphore::new(0),
        committed: Mutex::default(),
    });
    prepare(&state);
    let mut config = ConsumerConfig::default();
    config.retry_in_place = Duration::from_mins(1);
    let runtime = ConsumerRuntime::builder(database.db.clone(), transport)
        .state(Arc::clone(&state))
        .config(config)
        .handler(share)
        .build()
        .unwrap();
    let token = CancellationToken::new();
    let task = tokio::spawn(runtime.run(token.clone()));
    Running { state, token, task }
}

async fn handled(database: &TestDatabase) -> i64 {
    database.count("SELECT COUNT(*) FROM ledger").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_one_writer_goes_in_one_transaction() {
    let database = Backend::Sqlite.create().await;
    let running = start(&database, |_| {}).await;
    // Meanwhile the rest is polled, and waits for the writer.
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.state.gate.add_permits(1);
    eventually(|| async { handled(&database).await == 2 * KEYS }).await;
    running.token.cancel();
    running.task.await.unwrap().unwrap();
    let transactions = running.state.committed.lock().unwrap().len();
    assert!(transactions <= PARTITIONS / 2, "{transactions} transactions");
    for key in 0..KEYS {
        assert_eq!(of_key(&database, &format!("k{key}")).await, [key, key + KEYS]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_fails_among_several_partitions_keeps_only_its_own_waiting() {
    let database = Backend::Sqlite.create().await;
    let running = start(&database, |state| {
        state.app.fail(7, ALWAYS);
        state.gate.add_permits(1);
    })
    .await;
    // Its own partition waits ten seconds or more for its second attempt.
    let others = tokio::time::timeout(Duration::from_secs(8), async {
        while handled(&database).await < KEYS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    others.await.expect("the other partitions do not wait for the one that fails");
    running.token.cancel();
    running.task.await.unwrap().unwrap();
    assert!(of_key(&database, "k7").await.is_empty());
    for key in 0..KEYS {
        let seen = of_key(&database, &format!("k{key}")).await;
        assert!([key, key + KEYS].starts_with(&seen), "key {key}: {seen:?}");
    }
}
