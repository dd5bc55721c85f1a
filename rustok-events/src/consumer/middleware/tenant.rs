//! The tenant of the event at hand, for code that cannot be given it.

use uuid::Uuid;

use super::{Call, Middleware, Next};
use crate::{handler::Failure, transport::BoxFuture};

tokio::task_local! {
    static TENANT: Uuid;
}

/// The tenant of the event that is being handled on this task; `None` outside of a [`TenantScope`].
///
/// A task that a handler spawns is not part of it.
pub fn current_tenant() -> Option<Uuid> {
    TENANT.try_with(|tenant| *tenant).ok()
}

/// Makes the event's tenant known to everything the handler calls, as [`current_tenant`]. A batch that holds events
/// of several tenants fails with the code `mixed_tenants` and then comes one by one.
#[derive(Debug, Clone, Copy, Default)]
pub struct TenantScope;

impl Middleware for TenantScope {
    fn handle<'a>(&'a self, call: Call<'a>, next: Next<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        let tenant = call.envelope().tenant_id();
        if call.envelopes().any(|envelope| envelope.tenant_id() != tenant) {
            let error = "the batch holds events of several tenants";
            return Box::pin(async move { Err(Failure::retryable("mixed_tenants", error)) });
        }
        Box::pin(TENANT.scope(tenant, next.run()))
    }
}
