//! Named points where a test can make the program fail. Without the `testing` feature they are nothing.
//!
//! A point lies before and after each database commit and each broker call. What passes a point asks the
//! [`Faults`] it was given whether something is to go wrong there.

#[cfg(feature = "testing")]
mod draw;
#[cfg(feature = "testing")]
mod injected;
#[cfg(feature = "testing")]
mod plan;
#[cfg(feature = "testing")]
mod stop_at;

#[cfg(feature = "testing")]
pub(crate) use self::draw::Draw;
#[cfg(feature = "testing")]
pub use self::{
    injected::{Faults, Process},
    plan::{BROKER_POINTS, Fault, PlannedFault},
};

/// The names of all points, in the order an event passes them.
#[cfg(feature = "testing")]
pub const POINTS: &[&str] = &[
    "outbox.commit.before",
    "outbox.commit.after",
    "relay.lease.before",
    "relay.lease.after",
    "relay.read.before",
    "relay.read.after",
    "relay.provision.before",
    "relay.provision.after",
    "relay.publish.before",
    "relay.publish.after",
    "relay.park.before",
    "relay.park.after",
    "relay.advance.before",
    "relay.advance.after",
    "relay.release.before",
    "relay.release.after",
    "consumer.provision.before",
    "consumer.provision.after",
    "consumer.join.before",
    "consumer.join.after",
    "consumer.poll.before",
    "consumer.poll.after",
    "consumer.commit.before",
    "consumer.commit.after",
    "consumer.acknowledge.before",
    "consumer.acknowledge.after",
    "consumer.claim.before",
    "consumer.claim.after",
];

/// No faults: what a build without the `testing` feature carries, of no size and no effect.
#[cfg(not(feature = "testing"))]
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {}

#[cfg(not(feature = "testing"))]
#[allow(clippy::unused_async, reason = "the twin under `testing` waits")]
impl Faults {
    /// Passes a point beside a database commit.
    pub(crate) async fn database(&self, _point: &'static str) -> Result<(), sea_orm::DbErr> {
        Ok(())
    }

    /// Passes a point beside a broker call.
    pub(crate) async fn broker(
        &self,
        _point: &'static str,
    ) -> Result<(), crate::transport::TransportError> {
        Ok(())
    }
}
