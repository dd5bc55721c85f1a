//! The floor on MariaDB and MySQL: a log, and a list of what is pending.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use sea_orm::sqlx::{self, MySql, QueryBuilder, Row, mysql::MySqlPoolOptions};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Floor, headers, now};
use crate::{
    database::Place,
    sample::{PARTITIONS, Sample, TENANT},
    sink::Sink,
};

const PARTS: usize = 64;
const PAGE: i64 = 1000;

const TABLES: [&str; 2] = [
    "CREATE TABLE events (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        part SMALLINT NOT NULL,
        event_key VARCHAR(255) NOT NULL,
        headers TEXT NOT NULL,
        payload BLOB NOT NULL) ENGINE = InnoDB",
    "CREATE TABLE pending (part SMALLINT NOT NULL, id BIGINT NOT NULL, PRIMARY KEY (part, id)) ENGINE = InnoDB",
];

#[derive(Debug, Clone)]
pub(crate) struct MariaDbFloor {
    pool: sqlx::MySqlPool,
    wake: Arc<Notify>,
}

impl MariaDbFloor {
    async fn begin(&self, sample: &Sample) -> Result<sqlx::Transaction<'static, MySql>> {
        let mut txn = self.pool.begin().await?;
        sqlx::query("INSERT INTO orders (customer, amount) VALUES (?, ?)")
            .bind(sample.key())
            .bind(1_i64)
            .execute(&mut *txn)
            .await?;
        Ok(txn)
    }

    /// Reads, publishes and advances one part once; whether there was anything.
    async fn step(&self, part: i16, sink: &Sink) -> Result<bool> {
        let rows = sqlx::query(
            "SELECT e.id, e.event_key, e.headers, e.payload
               FROM (SELECT id FROM pending WHERE part = ? ORDER BY id LIMIT ?) p JOIN events e ON e.id = p.id
              ORDER BY e.id",
        )
        .bind(part)
        .bind(PAGE)
        .fetch_all(&self.pool)
        .await?;
        if rows.is_empty() {
            return Ok(false);
        }
        let mut delete = QueryBuilder::new("DELETE FROM pending WHERE part = ");
        delete.push_bind(part).push(" AND id IN (");
        let mut ids = delete.separated(", ");
        for row in &rows {
            ids.push_bind(row.try_get::<i64, _>(0)?);
            let _key: &str = row.try_get(1)?;
            let _headers: &str = row.try_get(2)?;
            sink.take(row.try_get(3)?);
        }
        delete.push(")").build().execute(&self.pool).await?;
        Ok(true)
    }
}

async fn pend(
    txn: &mut sqlx::Transaction<'static, MySql>,
    table: &'static str,
    first: u64,
    parts: impl Iterator<Item = i16>,
) -> Result<()> {
    let mut insert = QueryBuilder::new("INSERT INTO ");
    insert.push(table).push(" (id, part) ");
    insert.push_values((first..).zip(parts), |mut row, (id, part)| {
        row.push_bind(id).push_bind(part);
    });
    insert.build().execute(&mut **txn).await?;
    Ok(())
}

impl Floor for MariaDbFloor {
    async fn connect(place: &Place) -> Result<Self> {
        let pool = MySqlPoolOptions::new()
            .max_connections(16)
            .test_before_acquire(place.asks)
            .connect(&place.url)
            .await?;
        for table in TABLES {
            sqlx::raw_sql(table).execute(&pool).await?;
        }
        Ok(Self { pool, wake: Arc::default() })
    }

    async fn publish(&self, samples: &[Sample]) -> Result<()> {
        let mut txn = self.begin(&samples[0]).await?;
        let mut insert = QueryBuilder::new(
            "INSERT INTO rustok_outbox (event_id, name, version, stream, topic, partitions, partition_key,
                 tenant_id, actor_id, correlation_id, causation_id, occurred_at, content_type, headers, payload) ",
        );
        let payloads: Vec<Vec<u8>> =
            samples.iter().map(Sample::payload).collect::<Result<_, _>>()?;
        insert.push_values(samples.iter().zip(payloads), |mut row, (sample, payload)| {
            let id = Uuid::now_v7();
            row.push_bind(id)
                .push_bind("sample")
                .push_bind(1_i64)
                .push_bind("benches")
                .push_bind("samples")
                .push_bind(i64::from(PARTITIONS))
                .push_bind(sample.key().as_bytes())
                .push_bind(TENANT)
                .push_bind(None::<Uuid>)
                .push_bind(id)
                .push_bind(None::<Uuid>)
                .push_bind(now())
                .push_bind("application/json")
                .push_bind("{}")
                .push_bind(payload);
        });
        let first = insert.build().execute(&mut *txn).await?.last_insert_id();
        pend(&mut txn, "rustok_outbox_pending", first, samples.iter().map(Sample::part)).await?;
        Ok(txn.commit().await?)
    }

    async fn append(&self, samples: &[Sample], sink: &Sink) -> Result<()> {
        let mut txn = self.begin(&samples[0]).await?;
        let mut insert =
            QueryBuilder::new("INSERT INTO events (part, event_key, headers, payload) ");
        let payloads: Vec<Vec<u8>> =
            samples.iter().map(Sample::payload).collect::<Result<_, _>>()?;
        insert.push_values(samples.iter().zip(payloads), |mut row, (sample, payload)| {
            row.push_bind(sample.part()).push_bind(sample.key());
            row.push_bind(headers(sample)).push_bind(payload);
        });
        let first = insert.build().execute(&mut *txn).await?.last_insert_id();
        pend(&mut txn, "pending", first, samples.iter().map(Sample::part)).await?;
        for sample in samples {
            sink.committing(sample.number());
        }
        txn.commit().await?;
        self.wake.notify_waiters();
        Ok(())
    }

    async fn rewind(&self) -> Result<()> {
        sqlx::query("INSERT IGNORE INTO pending (part, id) SELECT part, id FROM events")
            .execute(&self.pool)
            .await?;
        self.wake.notify_waiters();
        Ok(())
    }

    async fn relay(
        &self,
        worker: usize,
        workers: usize,
        sink: &Sink,
        stop: &CancellationToken,
    ) -> Result<()> {
        let parts = (0..PARTS).filter(|part| part % workers == worker);
        let parts: Vec<i16> = parts.map(i16::try_from).collect::<Result<_, _>>()?;
        while !stop.is_cancelled() {
            let woken = self.wake.notified();
            let mut busy = false;
            for part in &parts {
                busy |= self.step(*part, sink).await?;
            }
            if busy {
                continue;
            }
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }
}
