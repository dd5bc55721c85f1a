//! The floor on PostgreSQL: the snapshot-window cursor, fenced.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use sea_orm::sqlx::{self, Row, postgres::PgPoolOptions, types::Json};
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
/// The most events read of a part at a time.
const PAGE: i64 = 1000;

const TABLES: &str = "
    CREATE TABLE events (
        id bigserial NOT NULL,
        txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        part smallint NOT NULL,
        key text NOT NULL,
        headers jsonb NOT NULL,
        payload bytea NOT NULL);
    CREATE INDEX events_part_txid_id ON events (part, txid, id);
    CREATE TABLE cursors (
        part smallint PRIMARY KEY,
        snapshot pg_snapshot NOT NULL,
        hi pg_snapshot,
        last_id bigint NOT NULL DEFAULT 0,
        epoch bigint NOT NULL DEFAULT 0,
        CHECK (hi IS NULL OR pg_snapshot_xmax(hi) >= pg_snapshot_xmax(snapshot))) WITH (fillfactor = 50);
    INSERT INTO cursors (part, snapshot) SELECT part, '3:3:' FROM generate_series(0, 63) part";

const WINDOW: &str = "
    WITH now AS MATERIALIZED (SELECT pg_current_snapshot() AS s),
         c AS MATERIALIZED (
             SELECT c.part, c.snapshot AS lo, c.hi AS old_hi, coalesce(c.hi, now.s) AS hi, c.last_id
               FROM cursors c, now WHERE c.part = ANY($1) AND c.epoch = $3)
    SELECT c.part, c.lo::text, c.old_hi::text, c.last_id, c.hi::text, o.id, o.key, o.headers::text, o.payload
      FROM c CROSS JOIN LATERAL (
          SELECT * FROM (
              SELECT e.* FROM events e
               WHERE e.part = c.part AND e.txid >= pg_snapshot_xmax(c.lo) AND e.txid < pg_snapshot_xmax(c.hi)
                 AND pg_visible_in_snapshot(e.txid, c.hi) AND e.id > c.last_id
              UNION ALL
              SELECT e.* FROM pg_snapshot_xip(c.lo) x
                JOIN events e ON e.part = c.part AND e.txid = x
               WHERE pg_visible_in_snapshot(e.txid, c.hi) AND e.id > c.last_id
          ) w ORDER BY w.id LIMIT $2) o
     ORDER BY c.part, o.id";

const ADVANCE: &str = "
    UPDATE cursors c
       SET snapshot = CASE WHEN d.whole THEN d.hi::pg_snapshot ELSE c.snapshot END,
           hi       = CASE WHEN d.whole THEN NULL ELSE d.hi::pg_snapshot END,
           last_id  = CASE WHEN d.whole THEN 0 ELSE d.last_id END
      FROM unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bool[])
           AS d(part, lo, old_hi, old_last_id, hi, last_id, whole)
     WHERE c.part = d.part AND c.epoch = $8 AND c.snapshot::text = d.lo
       AND c.hi::text IS NOT DISTINCT FROM d.old_hi AND c.last_id = d.old_last_id";

#[derive(Debug, Clone)]
pub(crate) struct PostgresFloor {
    pool: sqlx::PgPool,
    wake: Arc<Notify>,
}

/// What one read found, part by part.
#[derive(Debug, Default)]
struct Moves {
    part: Vec<i16>,
    lo: Vec<String>,
    old_hi: Vec<Option<String>>,
    old_last_id: Vec<i64>,
    hi: Vec<String>,
    last_id: Vec<i64>,
    whole: Vec<bool>,
}

impl PostgresFloor {
    /// Reads, publishes and advances once; whether there was anything.
    async fn step(&self, parts: &[i16], sink: &Sink) -> Result<bool> {
        let rows = sqlx::query(WINDOW)
            .bind(parts)
            .bind(PAGE + 1)
            .bind(0_i64)
            .fetch_all(&self.pool)
            .await?;
        let mut moves = Moves::default();
        let mut of_part = 0;
        for row in &rows {
            let part: i16 = row.try_get(0)?;
            if moves.part.last() != Some(&part) {
                of_part = 0;
                moves.part.push(part);
                moves.lo.push(row.try_get(1)?);
                moves.old_hi.push(row.try_get(2)?);
                moves.old_last_id.push(row.try_get(3)?);
                moves.hi.push(row.try_get(4)?);
                moves.last_id.push(0);
                moves.whole.push(true);
            }
            let place = moves.part.len() - 1;
            of_part += 1;
            if of_part > PAGE {
                moves.whole[place] = false;
                continue;
            }
            moves.last_id[place] = row.try_get(5)?;
            let _key: &str = row.try_get(6)?;
            let _headers: &str = row.try_get(7)?;
            sink.take(row.try_get(8)?);
        }
        if moves.part.is_empty() {
            return Ok(false);
        }
        let moved = sqlx::query(ADVANCE)
            .bind(&moves.part)
            .bind(&moves.lo)
            .bind(&moves.old_hi)
            .bind(&moves.old_last_id)
            .bind(&moves.hi)
            .bind(&moves.last_id)
            .bind(&moves.whole)
            .bind(0_i64)
            .execute(&self.pool)
            .await?;
        ensure!(moved.rows_affected() == moves.part.len() as u64, "a cursor was moved elsewhere");
        Ok(true)
    }
}

impl Floor for PostgresFloor {
    async fn connect(place: &Place) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .test_before_acquire(place.asks)
            .connect(&place.url)
            .await?;
        sqlx::raw_sql(TABLES).execute(&pool).await?;
        Ok(Self { pool, wake: Arc::default() })
    }

    async fn publish(&self, samples: &[Sample]) -> Result<()> {
        let mut txn = self.pool.begin().await?;
        sqlx::query("INSERT INTO orders (customer, amount) VALUES ($1, $2)")
            .bind(samples[0].key())
            .bind(1_i64)
            .execute(&mut *txn)
            .await?;
        if let [sample] = samples {
            let id = Uuid::now_v7();
            sqlx::query(
                "INSERT INTO rustok_outbox (part, event_id, name, version, stream, topic, partitions, partition_key,
                     tenant_id, actor_id, correlation_id, causation_id, occurred_at, content_type, headers, payload)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
            )
            .bind(sample.part())
            .bind(id)
            .bind("sample")
            .bind(1_i64)
            .bind("benches")
            .bind("samples")
            .bind(i64::from(PARTITIONS))
            .bind(sample.key().as_bytes())
            .bind(TENANT)
            .bind(None::<Uuid>)
            .bind(id)
            .bind(None::<Uuid>)
            .bind(now())
            .bind("application/json")
            .bind("{}")
            .bind(sample.payload()?)
            .execute(&mut *txn)
            .await?;
        } else {
            let mut insert = sqlx::QueryBuilder::new(
                "INSERT INTO rustok_outbox (part, event_id, name, version, stream, topic, partitions, partition_key,
                     tenant_id, actor_id, correlation_id, causation_id, occurred_at, content_type, headers, payload) ",
            );
            let payloads: Vec<Vec<u8>> =
                samples.iter().map(Sample::payload).collect::<Result<_, _>>()?;
            insert.push_values(samples.iter().zip(payloads), |mut row, (sample, payload)| {
                let id = Uuid::now_v7();
                row.push_bind(sample.part())
                    .push_bind(id)
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
        }
        Ok(txn.commit().await?)
    }

    async fn append(&self, samples: &[Sample], sink: &Sink) -> Result<()> {
        let mut txn = self.pool.begin().await?;
        sqlx::query("INSERT INTO orders (customer, amount) VALUES ($1, $2)")
            .bind(samples[0].key())
            .bind(1_i64)
            .execute(&mut *txn)
            .await?;
        let parts: Vec<i16> = samples.iter().map(Sample::part).collect();
        let keys: Vec<&str> = samples.iter().map(Sample::key).collect();
        let headers: Vec<Json<serde_json::Value>> = samples
            .iter()
            .map(|sample| serde_json::from_str(&headers(sample)).map(Json))
            .collect::<Result<_, _>>()?;
        let payloads: Vec<Vec<u8>> =
            samples.iter().map(Sample::payload).collect::<Result<_, _>>()?;
        sqlx::query(
            "INSERT INTO events (part, key, headers, payload)
             SELECT * FROM unnest($1::smallint[], $2::text[], $3::jsonb[], $4::bytea[])",
        )
        .bind(parts)
        .bind(keys)
        .bind(headers)
        .bind(payloads)
        .execute(&mut *txn)
        .await?;
        for sample in samples {
            sink.committing(sample.number());
        }
        txn.commit().await?;
        self.wake.notify_waiters();
        Ok(())
    }

    async fn rewind(&self) -> Result<()> {
        sqlx::query("UPDATE cursors SET snapshot = '3:3:', hi = NULL, last_id = 0")
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
            if self.step(&parts, sink).await? {
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
