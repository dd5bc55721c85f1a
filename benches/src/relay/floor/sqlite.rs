//! The floor on SQLite: a counter behind a log.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use sea_orm::sqlx::{
    self, Row,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Floor, headers, now};
use crate::{
    database::{self, Place},
    sample::{PARTITIONS, Sample, TENANT},
    sink::Sink,
};

const PAGE: i64 = 1000;

const TABLES: &str = "
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL,
        headers TEXT NOT NULL,
        payload BLOB NOT NULL);
    CREATE TABLE cursors (part INTEGER PRIMARY KEY, last_id INTEGER NOT NULL);
    INSERT INTO cursors VALUES (0, 0)";

#[derive(Debug, Clone)]
pub(crate) struct SqliteFloor {
    pool: sqlx::SqlitePool,
    wake: Arc<Notify>,
}

impl SqliteFloor {
    async fn begin(&self, sample: &Sample) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>> {
        let mut txn = self.pool.begin().await?;
        sqlx::query("INSERT INTO orders (customer, amount) VALUES (?, ?)")
            .bind(sample.key())
            .bind(1_i64)
            .execute(&mut *txn)
            .await?;
        Ok(txn)
    }

    async fn step(&self, sink: &Sink) -> Result<bool> {
        let rows = sqlx::query(
            "SELECT c.last_id, e.id, e.key, e.headers, e.payload
               FROM cursors c JOIN events e ON e.id > c.last_id ORDER BY e.id LIMIT ?",
        )
        .bind(PAGE)
        .fetch_all(&self.pool)
        .await?;
        let Some(last) = rows.last() else { return Ok(false) };
        for row in &rows {
            let _key: &str = row.try_get(2)?;
            let _headers: &str = row.try_get(3)?;
            sink.take(row.try_get(4)?);
        }
        sqlx::query("UPDATE cursors SET last_id = ? WHERE part = 0 AND last_id = ?")
            .bind(last.try_get::<i64, _>(1)?)
            .bind(last.try_get::<i64, _>(0)?)
            .execute(&self.pool)
            .await?;
        Ok(true)
    }
}

impl Floor for SqliteFloor {
    async fn connect(place: &Place) -> Result<Self> {
        let options = database::sqlite(place.url.parse::<SqliteConnectOptions>()?);
        let pool = SqlitePoolOptions::new()
            .max_connections(16)
            .test_before_acquire(place.asks)
            .connect_with(options)
            .await?;
        sqlx::raw_sql(TABLES).execute(&pool).await?;
        Ok(Self { pool, wake: Arc::default() })
    }

    async fn publish(&self, samples: &[Sample]) -> Result<()> {
        let mut txn = self.begin(&samples[0]).await?;
        let mut insert = sqlx::QueryBuilder::new(
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
        insert.build().execute(&mut *txn).await?;
        Ok(txn.commit().await?)
    }

    async fn append(&self, samples: &[Sample], sink: &Sink) -> Result<()> {
        let mut txn = self.begin(&samples[0]).await?;
        let mut insert = sqlx::QueryBuilder::new("INSERT INTO events (key, headers, payload) ");
        let payloads: Vec<Vec<u8>> =
            samples.iter().map(Sample::payload).collect::<Result<_, _>>()?;
        insert.push_values(samples.iter().zip(payloads), |mut row, (sample, payload)| {
            row.push_bind(sample.key()).push_bind(headers(sample)).push_bind(payload);
        });
        insert.build().execute(&mut *txn).await?;
        for sample in samples {
            sink.committing(sample.number());
        }
        txn.commit().await?;
        self.wake.notify_waiters();
        Ok(())
    }

    async fn rewind(&self) -> Result<()> {
        sqlx::query("UPDATE cursors SET last_id = 0").execute(&self.pool).await?;
        self.wake.notify_waiters();
        Ok(())
    }

    async fn relay(
        &self,
        _worker: usize,
        _workers: usize,
        sink: &Sink,
        stop: &CancellationToken,
    ) -> Result<()> {
        while !stop.is_cancelled() {
            let woken = self.wake.notified();
            if self.step(sink).await? {
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
