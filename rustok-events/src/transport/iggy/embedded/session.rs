//! A client's connection as the broker knows it.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    /// Never given twice while the broker runs.
    pub(super) client: u32,
    pub(super) address: SocketAddr,
    pub(super) logged_in: bool,
}

/// A connection in the list of clients.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    pub(super) logged_in: bool,
    /// The groups it is a member of, as (topic's number in the store, group).
    pub(super) groups: Vec<(u64, u32)>,
}

/// Microseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
