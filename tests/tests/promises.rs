//! The promises P1 to P6 under injected faults, on every database: schedules of the fault harness until each promise
//! was checked at least twenty times under a fault at every point.
//!
//! More of them: `cargo run --release -p rustok-events-tests --bin schedules -- --count 50000`.

use rustok_events_tests::{Backend, schedules::Schedules};

/// How often each cell of the matrix is to be hit.
const ENOUGH: u64 = 20;
/// Far more than it takes to hit each cell so often.
const MOST: u64 = 600;

fn promises_hold_on(backend: Backend) {
    if !backend.is_available("promises") {
        return;
    }
    let schedules = Schedules { enough: Some(ENOUGH), ..Schedules::new(backend, 0, MOST) };
    let outcome = schedules.run();
    println!("{}{:.1} s", outcome.matrix, outcome.elapsed.as_secs_f64());
    let failures: Vec<String> = outcome
        .failures
        .iter()
        .map(|(seed, error)| format!("{error}\nagain: {}", schedules.replay(*seed)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let least = outcome.matrix.least();
    assert!(least.is_some_and(|(_, _, _, hits)| hits >= ENOUGH), "{least:?}");
}

#[test]
fn promises_hold_on_sqlite() {
    promises_hold_on(Backend::Sqlite);
}

#[test]
fn promises_hold_on_postgres() {
    promises_hold_on(Backend::Postgres);
}

#[test]
fn promises_hold_on_mysql() {
    promises_hold_on(Backend::MySql);
}
