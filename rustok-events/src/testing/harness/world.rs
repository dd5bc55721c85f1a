//! What all parties of a schedule share.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use sea_orm::DatabaseConnection;
use tokio_util::sync::CancellationToken;

use super::{
    Promise, Violation,
    events::{App, Fact},
    observer::OffsetsAfterResults,
    plan::{PAUSE, Plan},
};
use crate::{
    EventId, TransactionalEventBus,
    clock::Clock,
    fault::{Faults, Process},
    testing::{FaultyTransport, MemoryTransport},
};

/// One schedule's parties' common ground.
pub(super) struct World {
    pub(super) db: DatabaseConnection,
    pub(super) seed: u64,
    pub(super) plan: Plan,
    pub(super) clock: Clock,
    pub(super) faults: Faults,
    pub(super) broker: MemoryTransport,
    pub(super) transport: FaultyTransport<MemoryTransport>,
    pub(super) app: Arc<App>,
    pub(super) observer: Arc<OffsetsAfterResults>,
    /// Cancelled once everything has drained.
    pub(super) over: CancellationToken,
    /// Whether the broker takes what it refused.
    pub(super) accepts: Arc<AtomicBool>,
    /// Events that the operator gave up.
    discarded: Mutex<HashSet<EventId>>,
    /// How often parked events were looked at.
    parked: AtomicU64,
    ticks: AtomicU64,
    history: Mutex<Vec<Written>>,
    violations: Arc<Violations>,
}

/// What was broken so far.
#[derive(Debug, Default)]
pub(super) struct Violations(Mutex<Vec<Violation>>);

/// An event as its writer saw it, on a count that all writers share.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) id: EventId,
    pub(super) key: &'static str,
    /// Before `publish_in_tx` was called.
    pub(super) called: u64,
    /// After the commit was answered.
    pub(super) committed: u64,
}

impl World {
    pub(super) fn new(db: DatabaseConnection, seed: u64) -> Self {
        let clock = Clock::manual();
        let faults = Faults::seeded(seed).clock(clock.clone()).pause(PAUSE);
        let broker = MemoryTransport::new();
        let plan = Plan::new(seed, &faults);
        let violations = Arc::<Violations>::default();
        let observer =
            Arc::new(OffsetsAfterResults::new(db.clone(), broker.clone(), Arc::clone(&violations)));
        let accepts = Arc::new(AtomicBool::new(false));
        let (refused, accepted) = (plan.refused.clone(), Arc::clone(&accepts));
        let transport = FaultyTransport::new(broker.clone(), faults.clone())
            .observed_by(observer.clone())
            .refusing(move |message| {
                !accepted.load(Ordering::Relaxed)
                    && Fact::of(message).is_some_and(|fact| refused.contains(&fact.number))
            });
        let app = Arc::new(App::new(&plan));
        Self {
            db,
            seed,
            plan,
            clock,
            faults,
            broker,
            transport,
            app,
            observer,
            over: CancellationToken::new(),
            accepts,
            discarded: Mutex::default(),
            parked: AtomicU64::new(0),
            ticks: AtomicU64::new(1),
            history: Mutex::default(),
            violations,
        }
    }

    /// A bus as the process has it.
    pub(super) fn bus(&self, process: &Process) -> TransactionalEventBus {
        TransactionalEventBus::new().with_clock(self.clock.clone()).with_faults(process.faults())
    }

    /// The next number of the count that writers share.
    pub(super) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// Remembers events whose commit was answered.
    pub(super) fn remember(&self, events: Vec<Written>) {
        self.lock_history().extend(events);
    }

    /// The events whose commit was answered.
    pub(super) fn history(&self) -> Vec<Written> {
        self.lock_history().clone()
    }

    /// The events that the operator gave up.
    pub(super) fn discarded(&self) -> HashSet<EventId> {
        self.discarded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the operator gave an event up.
    pub(super) fn discard(&self, event: EventId) {
        self.discarded.lock().unwrap_or_else(PoisonError::into_inner).insert(event);
    }

    /// Notes that parked events were looked at.
    pub(super) fn parked_seen(&self) {
        self.parked.fetch_add(1, Ordering::Relaxed);
    }

    /// How often parked events were looked at.
    pub(super) fn parked(&self) -> u64 {
        self.parked.load(Ordering::Relaxed)
    }

    fn lock_history(&self) -> MutexGuard<'_, Vec<Written>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a promise was broken.
    pub(super) fn broken(&self, promise: Promise, what: String) {
        self.violations.add(promise, what);
    }

    /// What was broken so far.
    pub(super) fn violations(&self) -> Vec<Violation> {
        self.violations.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Violations {
    pub(super) fn add(&self, promise: Promise, what: String) {
        let violation = Violation { promise, what };
        let mut violations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !violations.contains(&violation) {
            violations.push(violation);
        }
    }
}
