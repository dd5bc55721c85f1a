//! Standing still at a point, for tests that kill whole processes.
//!
//! The environment variable `RUSTOK_EVENTS_STOP_AT=name#n` makes the process stand still at the `n`-th passing of a
//! point, after printing `stopped at name#n` to standard error, so that a test can kill it exactly there.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

static STOP_AT: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
    let stop_at = std::env::var("RUSTOK_EVENTS_STOP_AT").ok()?;
    let (name, count) = stop_at.split_once('#').unwrap_or((&stop_at, "1"));
    Some((name.to_owned(), count.parse().ok()?))
});
static PASSED: AtomicU64 = AtomicU64::new(0);

/// Passes a point, or stands still for ever.
#[expect(
    clippy::print_stderr,
    reason = "the test that kills this process waits for the line; the process may have no subscriber for events"
)]
pub(super) async fn pass(name: &'static str) {
    let Some((stop_name, stop_count)) = STOP_AT.as_ref() else { return };
    if stop_name != name {
        return;
    }
    let passed = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    if passed >= *stop_count {
        if passed == *stop_count {
            eprintln!("stopped at {name}#{passed}");
        }
        std::future::pending::<()>().await;
    }
}
