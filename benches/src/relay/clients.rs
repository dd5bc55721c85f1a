//! Clients that publish side by side.

use std::{future::Future, time::Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::sample::Sample;

/// Publishes the events `from .. from + count` in transactions of `batch`, by `clients` clients, and returns how many
/// a second. A key belongs to one client.
pub(crate) async fn publish<F, W>(
    clients: u64,
    from: u64,
    count: u64,
    batch: u64,
    transaction: F,
) -> Result<f64>
where
    F: Fn(Vec<Sample>) -> W + Clone + Send + 'static,
    W: Future<Output = Result<()>> + Send + 'static,
{
    let began = Instant::now();
    let mut running = JoinSet::new();
    for client in 0..clients {
        let transaction = transaction.clone();
        running.spawn(async move {
            let mut number = from + client;
            while number < from + count {
                let numbers = (number..from + count).step_by(usize::try_from(clients)?);
                let samples: Vec<Sample> =
                    numbers.take(usize::try_from(batch)?).map(Sample::new).collect();
                number += samples.len() as u64 * clients;
                transaction(samples).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}
