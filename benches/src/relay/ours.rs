//! Ours: the same work through the library.

use std::time::Duration;

use anyhow::{Result, bail};
use rustok_events::{EventTransport, Relay, RelayConfig, TransactionalEventBus};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, Statement, TransactionTrait,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    database::{Place, Server},
    sample::{Sample, TENANT},
    sink::Sink,
};

/// A business transaction with events; notes in `sink` when it commits.
pub(crate) async fn publish(
    db: &DatabaseConnection,
    bus: &TransactionalEventBus,
    samples: Vec<Sample>,
    sink: Option<&Sink>,
) -> Result<()> {
    let txn = db.begin().await?;
    write(&txn, bus, samples, sink).await?;
    bus.commit(txn).await?;
    Ok(())
}

/// [`publish`] without the wake of a `bus.commit`: the relay finds the events when it looks next.
pub(crate) async fn publish_unheard(
    db: &DatabaseConnection,
    bus: &TransactionalEventBus,
    samples: Vec<Sample>,
    sink: &Sink,
) -> Result<()> {
    let txn = db.begin().await?;
    write(&txn, bus, samples, Some(sink)).await?;
    txn.commit().await?;
    Ok(())
}

async fn write(
    txn: &DatabaseTransaction,
    bus: &TransactionalEventBus,
    samples: Vec<Sample>,
    sink: Option<&Sink>,
) -> Result<()> {
    order(txn, &samples[0]).await?;
    let numbers: Vec<u64> = sink.iter().flat_map(|_| samples.iter().map(Sample::number)).collect();
    match <[Sample; 1]>::try_from(samples) {
        Ok([sample]) => {
            bus.publish_in_tx(txn, TENANT, None, sample).await?;
        }
        Err(samples) => {
            bus.publish_all_in_tx(txn, TENANT, None, samples).await?;
        }
    }
    if let Some(sink) = sink {
        for number in numbers {
            sink.committing(number);
        }
    }
    Ok(())
}

/// The business row of a transaction.
pub(super) async fn order(txn: &DatabaseTransaction, sample: &Sample) -> Result<()> {
    let backend = txn.get_database_backend();
    let sql = match backend {
        sea_orm::DbBackend::Postgres => "INSERT INTO orders (customer, amount) VALUES ($1, $2)",
        _ => "INSERT INTO orders (customer, amount) VALUES (?, ?)",
    };
    let values = [sample.key().into(), 1_i64.into()];
    txn.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(())
}

/// Relays that run, each with a pool of its own as if it were a process of its own.
pub(crate) struct Relays {
    stop: CancellationToken,
    running: Vec<JoinHandle<Result<(), rustok_events::RelayError>>>,
}

impl Relays {
    /// Starts relays and waits until the parts are spread evenly over them.
    pub(crate) async fn start(place: &Place, count: usize, sink: &Sink) -> Result<Self> {
        Self::start_with(place, count, 8, sink).await
    }

    /// Starts one relay to any transport.
    pub(crate) async fn start_to(place: &Place, transport: impl EventTransport) -> Result<Self> {
        let stop = CancellationToken::new();
        let relay = Relay::new(place.connect(8).await?, transport, RelayConfig::default());
        let running = vec![tokio::spawn(relay.run(stop.clone()))];
        Self { stop, running }.spread_over(place).await
    }

    /// [`start`](Self::start) with pools of so many connections.
    pub(crate) async fn start_with(
        place: &Place,
        count: usize,
        connections: u32,
        sink: &Sink,
    ) -> Result<Self> {
        let stop = CancellationToken::new();
        let mut running = Vec::new();
        for _ in 0..count {
            let db = place.connect(connections).await?;
            let relay = Relay::new(db, sink.clone(), RelayConfig::default());
            running.push(tokio::spawn(relay.run(stop.clone())));
        }
        Self { stop, running }.spread_over(place).await
    }

    /// Waits until the parts are spread evenly over them.
    async fn spread_over(self, place: &Place) -> Result<Self> {
        for _ in 0..3000 {
            if self.spread(place).await? == self.running.len() {
                return Ok(self);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("the parts were not spread over {} relays within half a minute", self.running.len())
    }

    /// How many relays hold their share.
    async fn spread(&self, place: &Place) -> Result<usize> {
        let parts = if place.server == Server::Sqlite { 1 } else { 64 };
        let share = parts / self.running.len().min(parts);
        let sql = format!(
            "SELECT owner FROM rustok_outbox_cursor WHERE owner IS NOT NULL GROUP BY owner HAVING COUNT(*) >= {share}"
        );
        let backend = place.db.get_database_backend();
        Ok(place.db.query_all_raw(Statement::from_string(backend, sql)).await?.len())
    }

    /// Stops them.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        for running in self.running {
            running.await??;
        }
        Ok(())
    }
}

/// Makes everything that was published new again, and wakes the relays.
pub(crate) async fn rewind(place: &Place, bus: &TransactionalEventBus) -> Result<()> {
    let sql = match place.server {
        Server::Postgres { .. } => {
            "UPDATE rustok_outbox_cursor SET snapshot = '3:3:', hi = NULL, last_id = 0, floor = 0, moved = moved + 1"
        }
        Server::MariaDb => {
            "INSERT IGNORE INTO rustok_outbox_pending (part, id) SELECT part, id FROM published"
        }
        Server::Sqlite => "UPDATE rustok_outbox_cursor SET last_id = 0",
    };
    let txn = place.db.begin().await?;
    txn.execute_unprepared(sql).await?;
    Ok(bus.commit(txn).await?)
}

/// Remembers what is pending, for [`rewind`], where relaying it takes it away.
pub(crate) async fn remember(place: &Place) -> Result<()> {
    if place.server == Server::MariaDb {
        let sql = "CREATE TABLE published AS SELECT part, id FROM rustok_outbox_pending";
        place.db.execute_unprepared(sql).await?;
    }
    Ok(())
}

/// Relays what is there, unmeasured.
pub(crate) async fn drain(place: &Place, events: u64) -> Result<()> {
    let relay = Relay::new(place.db.clone(), Sink::new(events), RelayConfig::default());
    relay.drain().await?;
    Ok(())
}
