//! Many schedules of the fault harness at once, each worker with a database and a runtime of its own.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustok_events::testing::harness::{Harness, Matrix, ScheduleError};

use crate::Backend;

/// Which schedules to run.
#[derive(Debug, Clone)]
pub struct Schedules {
    /// The store.
    pub backend: Backend,
    /// The first seed; the others follow it.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// How many at once.
    pub workers: usize,
    /// Whether the first failure ends it.
    pub fail_fast: bool,
    /// Ends it early once every promise was checked so often under a fault at every point.
    pub enough: Option<u64>,
    /// How long a schedule may take to drain.
    pub patience: Duration,
}

/// What came of them.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The schedules that kept every promise.
    pub matrix: Matrix,
    /// Those that did not, by seed.
    pub failures: Vec<(u64, ScheduleError)>,
    /// How many were run.
    pub run: u64,
    /// How many events were committed.
    pub events: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Schedules {
    /// So many schedules on a store, from a seed on.
    pub fn new(backend: Backend, first: u64, count: u64) -> Self {
        let patience = Duration::from_secs(20);
        Self { backend, first, count, workers: 4, fail_fast: false, enough: None, patience }
    }

    /// Runs them.
    pub fn run(&self) -> Outcome {
        let started = Instant::now();
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let outcome = Mutex::new(Outcome::default());
        thread::scope(|scope| {
            for _ in 0..self.workers.max(1) {
                scope.spawn(|| {
                    let mut runtime = tokio::runtime::Builder::new_current_thread();
                    let runtime = runtime.enable_all().build().expect("a runtime");
                    runtime.block_on(self.work(&next, &stop, &outcome));
                });
            }
        });
        let mut outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.failures.sort_by_key(|(seed, _)| *seed);
        outcome.elapsed = started.elapsed();
        outcome
    }

    async fn work(&self, next: &AtomicU64, stop: &AtomicBool, outcome: &Mutex<Outcome>) {
        let database = self.backend.create().await;
        let harness = Harness::new(database.db.clone()).await.expect("the ledgers are created");
        let harness = harness.patience(self.patience);
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= self.count || stop.load(Ordering::Relaxed) {
                return;
            }
            let seed = self.first + place;
            let result = harness.run(seed).await;
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.run += 1;
            match result {
                Ok(report) => {
                    outcome.events += report.events;
                    outcome.matrix.add(self.backend.name(), &report);
                    let least = outcome.matrix.least().map_or(0, |(_, _, _, hits)| hits);
                    if self.enough.is_some_and(|enough| least >= enough) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                Err(error) => {
                    outcome.failures.push((seed, error));
                    if self.fail_fast {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// The command that runs one of them again.
    pub fn replay(&self, seed: u64) -> String {
        format!(
            "cargo run -p rustok-events-tests --bin schedules -- --store {} --seed {seed} --count 1 --repeat 20",
            self.backend.name()
        )
    }
}
