//! By hand: a loop over the SDK's consumer, a transaction for each batch, the offset stored after it.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use futures::{FutureExt, StreamExt};
use iggy::{clients::consumer::ReceivedMessage, prelude::*};
use rustok_events::DomainEvent;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, Statement,
    TransactionTrait, Value,
};
use uuid::Uuid;

use super::{Topic, Work, write};
use crate::{
    database::{Place, Server},
    sample::Sample,
};

/// The most events in one transaction.
const BATCH: usize = 256;

/// The inbox of the loop: the columns of ours.
pub(super) async fn tables(place: &Place) -> Result<()> {
    let id = match place.server {
        Server::Postgres { .. } => "uuid",
        Server::MariaDb => "binary(16)",
        Server::Sqlite => "blob",
    };
    let without_rowid = if place.server == Server::Sqlite { " WITHOUT ROWID" } else { "" };
    let sql = format!(
        "CREATE TABLE by_hand_inbox (group_name varchar(255) NOT NULL, handler varchar(255) NOT NULL,
            event_id {id} NOT NULL, outcome varchar(16) NOT NULL, recorded_at bigint NOT NULL,
            PRIMARY KEY (group_name, handler, event_id)){without_rowid}"
    );
    place.db.execute_unprepared(&sql).await?;
    Ok(())
}

/// Handles every event of the topic, and returns how many a second.
///
/// On a task of its own, like a service's loop and like ours: not on the thread that the program began on, which the
/// scheduler treats better.
pub(super) async fn run(place: &Place, topic: &Topic, work: Work) -> Result<f64> {
    let (db, address, events) = (work.pool(place).await?, topic.address(), topic.events);
    tokio::spawn(consume(db, address, events, work)).await?
}

async fn consume(db: DatabaseConnection, address: String, events: u64, work: Work) -> Result<f64> {
    let address = format!("iggy://iggy:iggy@{address}?nodelay=true");
    let began = Instant::now();
    let client = IggyClient::from_connection_string(&address)?;
    client.connect().await?;
    let group = format!("by-hand-{}", Uuid::now_v7().simple());
    let mut consumer = client
        .consumer_group(&group, Sample::STREAM, Sample::TOPIC)?
        .auto_commit(AutoCommit::Disabled)
        .create_consumer_group_if_not_exists()
        .auto_join_consumer_group()
        .polling_strategy(PollingStrategy::next())
        .batch_length(u32::try_from(BATCH)?)
        .without_poll_interval()
        .build();
    consumer.init().await?;
    let mut left = events;
    while left > 0 {
        let Some(first) = consumer.next().await else { bail!("the topic ended") };
        let mut batch = vec![first?];
        // What the same poll brought.
        while batch.len() < BATCH {
            let Some(Some(message)) = consumer.next().now_or_never() else { break };
            batch.push(message?);
        }
        for of_partition in batch.chunk_by(|one, other| one.partition_id == other.partition_id) {
            handle(&db, of_partition, work).await?;
            let last = of_partition.last().context("a chunk is never empty")?;
            consumer.store_offset(last.message.header.offset, Some(last.partition_id)).await?;
        }
        left = left.checked_sub(batch.len() as u64).context("an event came twice")?;
    }
    let rate = events as f64 / began.elapsed().as_secs_f64();
    drop(consumer);
    client.shutdown().await?;
    Ok(rate)
}

async fn handle(db: &DatabaseConnection, batch: &[ReceivedMessage], work: Work) -> Result<()> {
    let decode = |received: &ReceivedMessage| -> Result<Sample> {
        Ok(serde_json::from_slice(&received.message.payload)?)
    };
    match work {
        Work::Counting => {
            for received in batch {
                std::hint::black_box(decode(received)?.number());
            }
        }
        Work::Detached => {
            for received in batch {
                write(db, [&decode(received)?].into_iter()).await?;
            }
        }
        Work::Single => {
            let txn = db.begin().await?;
            claim(&txn, batch).await?;
            for received in batch {
                write(&txn, [&decode(received)?].into_iter()).await?;
            }
            txn.commit().await?;
        }
        Work::Batch => {
            let txn = db.begin().await?;
            claim(&txn, batch).await?;
            let samples: Vec<Sample> = batch.iter().map(decode).collect::<Result<_>>()?;
            write(&txn, samples.iter()).await?;
            txn.commit().await?;
        }
    }
    Ok(())
}

/// All of them are new here; one that is not would be an error, as a loop that stores its offsets never sees it.
async fn claim(txn: &DatabaseTransaction, batch: &[ReceivedMessage]) -> Result<()> {
    let now: i64 = now_micros();
    let ids = batch.iter().map(|received| Uuid::from_u128(received.message.header.id));
    let backend = txn.get_database_backend();
    let statement = if backend == DbBackend::Postgres {
        let ids: Vec<String> = ids.map(|id| id.simple().to_string()).collect();
        let ids = Value::from(format!("{{{}}}", ids.join(",")));
        let sql = "INSERT INTO by_hand_inbox (group_name, handler, event_id, outcome, recorded_at)
                   SELECT 'by hand', 'loop', unnest($1::text::uuid[]), 'handled', $2 ON CONFLICT DO NOTHING";
        Statement::from_sql_and_values(backend, sql, [ids, now.into()])
    } else {
        let (insert, conflict) = match backend {
            DbBackend::MySql => ("INSERT IGNORE", ""),
            _ => ("INSERT", " ON CONFLICT DO NOTHING"),
        };
        let rows = vec!["('by hand', 'loop', ?, 'handled', ?)"; batch.len()].join(", ");
        let sql = format!(
            "{insert} INTO by_hand_inbox (group_name, handler, event_id, outcome, recorded_at) VALUES {rows}{conflict}"
        );
        let values = ids.flat_map(|id| [Value::from(id), now.into()]);
        Statement::from_sql_and_values(backend, sql, values)
    };
    let claimed = txn.execute_raw(statement).await?.rows_affected();
    ensure!(claimed == batch.len() as u64, "an event came twice");
    Ok(())
}

/// Microseconds since 1970.
fn now_micros() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
