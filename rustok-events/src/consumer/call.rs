//! One call of a handler: within its time, inside its middleware and its span.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tracing::Instrument;

use super::middleware::{Call, Middleware, Next};
use crate::handler::{Delivered, ErasedHandler, Failure, Invocation};

/// What lies around the handlers of a runtime.
#[derive(Clone, Default)]
pub(super) struct Surroundings {
    pub(super) middleware: Arc<[Arc<dyn Middleware>]>,
    pub(super) timeout: Option<Duration>,
}

impl Surroundings {
    pub(super) async fn call<S>(
        &self,
        handler: &dyn ErasedHandler<S>,
        invocation: Invocation<'_, S>,
        deliveries: &[&Delivered],
    ) -> Result<(), Failure> {
        let spec = handler.spec();
        let meta = &deliveries[0].meta;
        let span = tracing::info_span!(
            "handle", group = spec.group, handler = spec.name, event = %meta.id, name = meta.name(),
            tenant = %meta.tenant_id, correlation = %meta.correlation_id, attempt = meta.attempt
        );
        let call = Call { group: spec.group, handler: spec.name, deliveries };
        let handler = handler.call(invocation, deliveries);
        let handled = async {
            if self.middleware.is_empty() {
                return handler.await;
            }
            let run = Next { rest: &self.middleware, call, handler }.run();
            AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| {
                Err(Failure::retryable("middleware_panic", "a middleware panicked"))
            })
        }
        .instrument(span);
        match self.timeout {
            None => handled.await,
            Some(limit) => tokio::time::timeout(limit, handled).await.unwrap_or_else(|_| {
                let error = format!("the handler took longer than {limit:?}");
                Err(Failure::retryable("handler_timeout", error))
            }),
        }
    }
}
