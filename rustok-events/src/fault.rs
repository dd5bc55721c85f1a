//! Named points where a test can make the program fail. Without the `testing` feature they are nothing.
//!
//! A point lies before and after each database commit and each broker call. The environment variable
//! `RUSTOK_EVENTS_STOP_AT=name#n` makes the process stand still at the `n`-th passing of a point, after printing
//! `stopped at name#n` to standard error, so that a test can kill it exactly there.

/// The names of all points, in the order an event passes them.
#[cfg(feature = "testing")]
pub const POINTS: &[&str] = &[
    "outbox.commit.before",
    "outbox.commit.after",
    "relay.lease.before",
    "relay.lease.after",
    "relay.provision.before",
    "relay.provision.after",
    "relay.publish.before",
    "relay.publish.after",
    "relay.advance.before",
    "relay.advance.after",
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
];

/// Passes a point.
#[cfg(not(feature = "testing"))]
#[allow(clippy::unused_async, reason = "the twin under `testing` waits")]
pub(crate) async fn point(_name: &'static str) {}

/// Passes a point.
#[cfg(feature = "testing")]
pub(crate) async fn point(name: &'static str) {
    use std::{
        collections::HashMap,
        sync::{LazyLock, Mutex},
    };

    static STOP_AT: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let stop_at = std::env::var("RUSTOK_EVENTS_STOP_AT").ok()?;
        let (name, count) = stop_at.split_once('#').unwrap_or((&stop_at, "1"));
        Some((name.to_owned(), count.parse().ok()?))
    });
    static PASSED: LazyLock<Mutex<HashMap<&'static str, u64>>> = LazyLock::new(Mutex::default);

    let Some((stop_name, stop_count)) = STOP_AT.as_ref() else { return };
    if stop_name != name {
        return;
    }
    let passed = {
        let mut passed = PASSED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = passed.entry(name).or_default();
        *count += 1;
        *count
    };
    if passed >= *stop_count {
        if passed == *stop_count {
            eprintln!("stopped at {name}#{passed}");
        }
        std::future::pending::<()>().await;
    }
}
