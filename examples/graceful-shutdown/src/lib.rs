//! A service that stops when it is told to: what is being handled is finished and acknowledged, what does not finish
//! in time is rolled back and comes again.

use std::{future::Future, time::Duration};

use rustok_events::{ConsumerConfig, EventRuntime, EventTransport, RuntimeError, prelude::*};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
use serde::{Deserialize, Serialize};

/// A report was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "office", topic = "reports", partition_key = number)]
pub struct ReportAsked {
    /// Its number.
    pub number: i64,
}

/// Makes the table.
///
/// # Errors
/// The database's.
pub async fn create_table(db: &DatabaseConnection) -> Result<(), DbErr> {
    db.execute_unprepared("CREATE TABLE IF NOT EXISTS reports (number BIGINT)").await?;
    Ok(())
}

/// Writes a report, which takes a while.
#[event_handler(group = "office")]
pub async fn write_report<S>(ctx: &mut HandlerContext<'_, S>, event: ReportAsked) -> HandlerResult {
    let sql = format!("INSERT INTO reports (number) VALUES ({})", event.number);
    ctx.tx().execute_unprepared(&sql).await?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(())
}

/// Runs until `signal` comes; a stop takes at most five seconds longer.
///
/// # Errors
/// [`RuntimeError`] that waiting cannot mend.
pub async fn serve<F: Future>(
    db: DatabaseConnection,
    transport: impl EventTransport,
    signal: F,
) -> Result<(), RuntimeError> {
    let mut consumers = ConsumerConfig::default();
    consumers.drain_timeout = Duration::from_secs(5);
    // Small batches: a stop waits for one of each partition.
    consumers.batch_size = 2;
    let runtime = EventRuntime::builder(db).transport(transport).handler(write_report);
    runtime.consumers(consumers).run_until(signal).await
}
