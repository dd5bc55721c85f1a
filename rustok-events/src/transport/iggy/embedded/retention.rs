//! Removes what is past its topic's retention, and what deleted topics left behind.
//!
//! Records go whole and from the front, by their keys alone: no message is read. Offsets are never given again.

use std::sync::Arc;

use iggy::prelude::IggyError;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    broker::Broker,
    partition::Partition,
    session::now,
    store::{Trim, Work},
    topology::Topic,
};

/// Sweeps until `stop`.
pub(super) async fn run(
    broker: Arc<Broker>,
    mut remains: mpsc::UnboundedReceiver<Vec<u8>>,
    stop: CancellationToken,
) {
    let mut sweep =
        interval(broker.config.retention_sweep.max(std::time::Duration::from_millis(1)));
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            let done = tokio::select! {
                Some(prefix) = remains.recv() => purge(&broker, prefix).await,
                _ = sweep.tick() => sweep_all(&broker).await,
            };
            if let Err(error) = done {
                tracing::warn!(%error, "the embedded broker cannot remove old messages");
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Removes the rows that begin so.
pub(super) async fn purge(broker: &Broker, prefix: Vec<u8>) -> Result<(), IggyError> {
    while broker.store.submit(Work::Purge { prefix: prefix.clone() }).await? > 0 {}
    Ok(())
}

/// Removes a partition's oldest records.
pub(super) async fn trim(
    broker: &Broker,
    partition: &Arc<Partition>,
    trim: Trim,
) -> Result<(), IggyError> {
    loop {
        let before = partition.bounds().bytes;
        let partition = Arc::clone(partition);
        let gone =
            broker.store.submit(Work::Trim { partition: Arc::clone(&partition), trim }).await?;
        // A bound in bytes is met by one pass unless the pass was cut short; the next sweep goes on from there.
        if gone == 0 || matches!(trim, Trim::Bytes(_)) || partition.bounds().bytes == before {
            return Ok(());
        }
    }
}

async fn sweep_all(broker: &Broker) -> Result<(), IggyError> {
    let topics: Vec<Arc<Topic>> = broker.topology().topics().cloned().collect();
    for topic in &topics {
        if topic.row.expiry != u64::MAX {
            let before = now().saturating_sub(topic.row.expiry);
            for partition in topic.partitions.iter().filter(|p| p.bounds().count() > 0) {
                trim(broker, partition, Trim::Before(before)).await?;
            }
        }
        let (bytes, _) = topic.size();
        let excess = bytes.saturating_sub(topic.row.max_size);
        if excess > 0 {
            for partition in &topic.partitions {
                let share =
                    u128::from(excess) * u128::from(partition.bounds().bytes) / u128::from(bytes);
                let share = u64::try_from(share).unwrap_or(u64::MAX);
                trim(broker, partition, Trim::Bytes(share)).await?;
            }
        }
        if let Some(tails) = broker.store.tails() {
            let quiet = now().saturating_sub(60_000_000);
            for partition in topic.partitions.iter().filter(|p| p.bounds().timestamp < quiet) {
                partition.forget_tail(tails);
            }
        }
    }
    Ok(())
}
