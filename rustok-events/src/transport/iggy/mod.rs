//! Apache Iggy: the only place that names its SDK.
//!
//! ```text
//!               ┌ control ──── provision, watch topics, health
//! IggyTransport ┼ publishers ─ direct sends, one batch per partition
//!               └ members ──── one client each: poll, handle, store the offset
//! ```
//!
//! Remote and embedded differ in the address alone: the genuine SDK client speaks to both over TCP.

mod broker;
mod client;
mod config;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod connector;
mod cursor;
mod duration;
pub mod embedded;
mod env;
mod errors;
mod group;
mod headers;
mod health;
pub(crate) mod incoming;
mod link;
mod producer;
mod provision;
mod reader;
mod replay;
mod seam;
mod seat;
mod signal;
mod subscription;
mod transport;
mod watch;

pub use self::{
    config::{
        ConnectionConfig, EmbeddedConfig, IggyConfig, IggyMode, RemoteConfig, Retention,
        Serialization, Sync, Topology,
    },
    env::EnvError,
    group::{Delivery, GroupSubscription},
    health::{GroupHealth, Health, PartitionLag, TopicHealth},
    replay::{Replay, ReplayBuilder, ReplayPosition, ReplayProgress},
    transport::IggyTransport,
};
