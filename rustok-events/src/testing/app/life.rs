//! The life of an app under test: it runs, and comes back when a fault makes it crash or stop.

use std::{sync::Arc, time::Duration};

use sea_orm::DatabaseConnection;
use tokio_util::sync::CancellationToken;

use crate::{
    ConsumerConfig, EventRuntime, EventTransport, RelayConfig, RuntimeError,
    consumer::{BuildError, middleware::Middleware},
    fault::{Faults, Process},
    handler::ErasedHandler,
};

/// Longer than any lease.
const DOWN: Duration = Duration::from_mins(2);

/// What each run of the app is made of.
pub(super) struct Life<S> {
    pub(super) db: DatabaseConnection,
    pub(super) state: Arc<S>,
    pub(super) handlers: Vec<Arc<dyn ErasedHandler<S>>>,
    pub(super) middleware: Vec<Arc<dyn Middleware>>,
    pub(super) transport: Arc<dyn EventTransport>,
    pub(super) relay: RelayConfig,
    pub(super) consumers: ConsumerConfig,
    pub(super) faults: Faults,
}

impl<S: Send + Sync + 'static> Life<S> {
    /// A runtime, in a process of its own.
    pub(super) fn begin(&self) -> Result<(EventRuntime<S>, Process), BuildError> {
        let process = self.faults.process();
        let (state, handlers) = (Arc::clone(&self.state), self.handlers.clone());
        let mut runtime = EventRuntime::from_parts(self.db.clone(), state, handlers)
            .transport(Arc::clone(&self.transport))
            .relay(self.relay.clone().faults(process.faults()))
            .consumers(self.consumers.clone().faults(process.faults()));
        for middleware in &self.middleware {
            runtime = runtime.middleware(Arc::clone(middleware));
        }
        Ok((runtime.build()?, process))
    }

    /// Runs until `token` is cancelled, or until a failure that no fault explains.
    pub(super) async fn run(
        self,
        first: (EventRuntime<S>, Process),
        token: CancellationToken,
    ) -> Result<(), RuntimeError> {
        let (mut runtime, mut process) = first;
        loop {
            let run = runtime.run(process.token());
            let until_stopped = async {
                tokio::pin!(run);
                tokio::select! {
                    ended = &mut run => ended,
                    () = token.cancelled() => {
                        process.token().cancel();
                        run.await
                    }
                }
            };
            if let Some(Err(error)) = process.run(Box::pin(until_stopped)).await {
                return Err(error);
            }
            if token.is_cancelled() {
                return Ok(());
            }
            self.consumers.clock.advance(DOWN);
            (runtime, process) = self.begin()?;
        }
    }
}
