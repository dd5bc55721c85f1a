//! One event written by hand over SeaORM, in the same row: what of the cost of publishing is the library's own.

use anyhow::Result;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait, Value};
use uuid::Uuid;

use super::{floor, ours};
use crate::sample::{PARTITIONS, Sample, TENANT};

/// A business transaction with an event.
pub(super) async fn publish(db: &DatabaseConnection, sample: &Sample) -> Result<()> {
    let txn = db.begin().await?;
    ours::order(&txn, sample).await?;
    let id = Uuid::now_v7();
    let mut values: Vec<Value> = vec![
        id.into(),
        "sample".into(),
        1_i64.into(),
        "benches".into(),
        "samples".into(),
        i64::from(PARTITIONS).into(),
        sample.key().as_bytes().to_vec().into(),
        TENANT.into(),
        None::<Uuid>.into(),
        id.into(),
        None::<Uuid>.into(),
        floor::now().into(),
        "application/json".into(),
        "{}".into(),
        sample.payload()?.into(),
    ];
    let backend = txn.get_database_backend();
    let insert = match backend {
        DbBackend::Postgres => {
            values.push(i64::from(sample.part()).into());
            "INSERT INTO rustok_outbox (event_id, name, version, stream, topic, partitions, partition_key,
                 tenant_id, actor_id, correlation_id, causation_id, occurred_at, content_type, headers, payload, part)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
        }
        _ => {
            "INSERT INTO rustok_outbox (event_id, name, version, stream, topic, partitions, partition_key,
                 tenant_id, actor_id, correlation_id, causation_id, occurred_at, content_type, headers, payload)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        }
    };
    let inserted = txn.execute_raw(Statement::from_sql_and_values(backend, insert, values)).await?;
    if backend == DbBackend::MySql {
        let pend = "INSERT INTO rustok_outbox_pending (id, part) VALUES (?, ?)";
        let values = [inserted.last_insert_id().into(), i64::from(sample.part()).into()];
        txn.execute_raw(Statement::from_sql_and_values(backend, pend, values)).await?;
    }
    Ok(txn.commit().await?)
}
