//! A parcel is on its way, and its receiver gets a text message.
//!
//! The message leaves the database's transaction behind, so the handler says `inbox = none`: it is called at least
//! once. The event's id goes along as the idempotency key, and the gateway sends each key once.

use std::sync::Arc;

use rustok_events::{BoxError, prelude::*, transport::BoxFuture};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A parcel left the house.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "shop", topic = "parcels", partition_key = parcel_id)]
pub struct ParcelSent {
    /// The parcel.
    pub parcel_id: Uuid,
    /// Where its receiver reads messages.
    pub phone: String,
}

/// Whoever sends text messages.
pub trait Gateway: Send + Sync {
    /// Sends a message, once for each key.
    fn send<'a>(
        &'a self,
        key: Uuid,
        phone: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<(), BoxError>>;
}

/// What the handler needs.
pub type App = Arc<dyn Gateway>;

/// Tells the receiver. Tried for about a minute, and a message that cannot be sent does not keep later ones waiting.
#[event_handler(
    group = "notifications",
    inbox = none,
    retry(attempts = 8, min = "500ms", max = "30s"),
    on_dead_letter = continue
)]
pub async fn tell_receiver(ctx: &mut DetachedContext<'_, App>, event: ParcelSent) -> HandlerResult {
    let key = ctx.envelope().id().into();
    ctx.state().send(key, &event.phone, "Your parcel is on its way.").await?;
    Ok(())
}
