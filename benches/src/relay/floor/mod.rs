//! The floor: what one writes by hand over `sqlx` where there is no library. Frozen: it changes only when it is wrong.
//!
//! Publishing inserts the same row into the same table. Relaying is a serial loop, read, publish, advance, over
//! tables of its own, as narrow as they can be and still carry the same information, and with no leases.

mod mariadb;
mod postgres;
mod sqlite;

use std::future::Future;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

pub(crate) use self::{mariadb::MariaDbFloor, postgres::PostgresFloor, sqlite::SqliteFloor};
use crate::{
    database::Place,
    sample::{Sample, TENANT},
    sink::Sink,
};

/// Hand-written SQL on one database.
pub(crate) trait Floor: Clone + Send + Sync + 'static {
    /// Opens a pool and creates the tables of its own.
    fn connect(place: &Place) -> impl Future<Output = Result<Self>> + Send;

    /// A business transaction with events, in the rows and the table that the library would write them in.
    fn publish(&self, samples: &[Sample]) -> impl Future<Output = Result<()>> + Send;

    /// A business transaction with events in the floor's own log; notes in `sink` when it commits.
    fn append(&self, samples: &[Sample], sink: &Sink) -> impl Future<Output = Result<()>> + Send;

    /// Makes everything that was appended new again.
    fn rewind(&self) -> impl Future<Output = Result<()>> + Send;

    /// Relays one of `workers` shares of the parts, until it is told to stop.
    fn relay(
        &self,
        worker: usize,
        workers: usize,
        sink: &Sink,
        stop: &CancellationToken,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// What the narrow tables keep beside key and payload.
fn headers(sample: &Sample) -> String {
    let id = uuid::Uuid::now_v7();
    format!(
        r#"{{"id":"{id}","type":"sample","version":1,"topic":"benches/samples","tenant":"{TENANT}","customer":"{}"}}"#,
        sample.key()
    )
}

/// Microseconds since 1970.
pub(super) fn now() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
