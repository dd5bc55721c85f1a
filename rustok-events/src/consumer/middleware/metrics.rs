//! Metrics as `tracing` events, for whatever subscriber turns them into counters and histograms.

use std::time::Instant;

use super::{Call, Middleware, Next};
use crate::{handler::Failure, transport::BoxFuture};

/// Emits one event per call under the target `rustok_events::metrics`, at level `INFO`, with the fields `group`,
/// `handler`, `events`, `outcome` (`ok` or the failure's code), `attempt` and `seconds`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Metrics;

impl Middleware for Metrics {
    fn handle<'a>(&'a self, call: Call<'a>, next: Next<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let started = Instant::now();
            let result = next.run().await;
            tracing::info!(
                target: "rustok_events::metrics",
                group = call.group(),
                handler = call.handler(),
                events = call.envelopes().len(),
                outcome = result.as_ref().err().map_or("ok", Failure::code),
                attempt = call.envelope().attempt(),
                seconds = started.elapsed().as_secs_f64(),
                "handled"
            );
            result
        })
    }
}
