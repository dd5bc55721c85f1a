//! Faults as a run meets them: passings counted, processes ended, clocks waited for.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use sea_orm::{DbErr, RuntimeErr};
use tokio_util::sync::CancellationToken;

use super::{
    POINTS,
    plan::{self, BROKER_POINTS, Fault, PlannedFault},
    stop_at,
};
use crate::{clock::Clock, transport::TransportError};

/// The faults of one run. A cheap handle; clones share the plan and count passings together.
///
/// Given to a relay, to consumers, to a bus and to a [`FaultyTransport`](crate::testing::FaultyTransport), which
/// consult it at every point. The default never fails anything.
///
/// ```
/// use rustok_events::{RelayConfig, testing::{Fault, Faults}};
/// let faults = Faults::none().inject("relay.publish.after", 1, Fault::Crash);
/// let process = faults.process();
/// let config = RelayConfig::default().faults(process.faults());
/// // process.run(relay.run(process.token())).await is `None` once the relay crashed.
/// ```
#[derive(Debug, Clone, Default)]
pub struct Faults {
    plan: Option<Arc<Plan>>,
    clock: Clock,
    pause: Option<Duration>,
    process: Option<Switches>,
}

#[derive(Debug, Default)]
struct Plan {
    planned: Vec<PlannedFault>,
    healed: AtomicBool,
    passed: Mutex<HashMap<&'static str, u32>>,
    met: Mutex<Vec<PlannedFault>>,
}

impl Faults {
    /// Nothing goes wrong, until [`inject`](Self::inject) says so.
    pub fn none() -> Self {
        Self::default()
    }

    /// A few faults, at points and passings that the seed decides. The same seed gives the same faults; consecutive
    /// seeds meet all points alike.
    pub fn seeded(seed: u64) -> Self {
        let planned = plan::seeded(seed);
        let plan = Plan { planned, ..Plan::default() };
        Self { plan: Some(Arc::new(plan)), ..Self::default() }
    }

    /// Adds a fault at the `passing`-th passing of a point, from 1. Handles that were cloned before do not know it.
    ///
    /// # Panics
    /// If there is no such point, or no such fault can happen there.
    #[expect(
        clippy::panic,
        reason = "a fault that can never be met would let its test pass: the test is wrong, and says so"
    )]
    #[must_use]
    pub fn inject(self, point: &str, passing: u32, fault: Fault) -> Self {
        let known = POINTS.iter().chain(BROKER_POINTS).find(|known| **known == point);
        let point = *known.unwrap_or_else(|| panic!("there is no fault point `{point}`"));
        assert!(Fault::at(point).contains(&fault), "`{fault}` cannot happen at `{point}`");
        let mut planned = self.planned().to_vec();
        planned.push(PlannedFault { point, passing, fault });
        Self { plan: Some(Arc::new(Plan { planned, ..Plan::default() })), ..self }
    }

    /// Sets the clock that pauses are measured by.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Sets how long a pause is: longer than the lease, if a take-over is wanted. 15 seconds unless set.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause: Some(pause), ..self }
    }

    /// A process of its own under this plan.
    pub fn process(&self) -> Process {
        let switches = Switches::default();
        let faults = Self { process: Some(switches.clone()), ..self.clone() };
        Process { faults, switches }
    }

    /// What is planned.
    pub fn planned(&self) -> &[PlannedFault] {
        self.plan.as_ref().map_or(&[], |plan| &plan.planned)
    }

    /// What went wrong so far, in order.
    pub fn met(&self) -> Vec<PlannedFault> {
        let met =
            |plan: &Arc<Plan>| plan.met.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.plan.as_ref().map(met).unwrap_or_default()
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        if let Some(plan) = &self.plan {
            plan.healed.store(true, Ordering::Relaxed);
        }
    }

    /// Counts a passing, and says what is to go wrong at it.
    pub(crate) fn due(&self, point: &'static str) -> Option<Fault> {
        let plan = self.plan.as_ref()?;
        if plan.healed.load(Ordering::Relaxed) {
            return None;
        }
        let mut passed = plan.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry(point).or_default();
        *count += 1;
        let due = plan.planned.iter().find(|due| due.point == point && due.passing == *count)?;
        plan.met.lock().unwrap_or_else(PoisonError::into_inner).push(*due);
        Some(due.fault)
    }

    /// How long a pause is.
    pub(crate) fn pause_length(&self) -> Duration {
        self.pause.unwrap_or(Duration::from_secs(15))
    }

    /// Waits as long as a pause is.
    pub(crate) async fn stand_still(&self) {
        self.clock.sleep(self.pause_length()).await;
    }

    /// Passes a point; `true` if the connection is lost there.
    async fn pass(&self, point: &'static str) -> bool {
        stop_at::pass(point).await;
        if let Some(until) = self.process.as_ref().and_then(Switches::asleep) {
            self.clock.sleep_until(until).await;
        }
        let crashed = |process: &Switches| process.crash.is_cancelled();
        if self.process.as_ref().is_some_and(crashed) {
            std::future::pending::<()>().await;
        }
        match self.due(point) {
            Some(Fault::Crash) => {
                if let Some(process) = &self.process {
                    process.crash.cancel();
                }
                std::future::pending().await
            }
            Some(Fault::Stop) => {
                if let Some(process) = &self.process {
                    process.stop.cancel();
                }
                false
            }
            Some(Fault::Pause) => {
                if let Some(process) = &self.process {
                    // All of it: leases are not renewed meanwhile.
                    process.fall_asleep(self.clock.now() + self.pause_length());
                }
                self.stand_still().await;
                false
            }
            Some(Fault::Error) => true,
            _ => false,
        }
    }

    /// Passes a point beside a database commit.
    pub(crate) async fn database(&self, point: &'static str) -> Result<(), DbErr> {
        if self.pass(point).await {
            let lost = format!("connection lost at {point}");
            return Err(DbErr::Conn(RuntimeErr::Internal(lost)));
        }
        Ok(())
    }

    /// Passes a point beside a broker call.
    pub(crate) async fn broker(&self, point: &'static str) -> Result<(), TransportError> {
        if self.pass(point).await {
            return Err(TransportError::Unavailable(format!("connection lost at {point}").into()));
        }
        Ok(())
    }
}

/// What ends a process, or holds it up.
#[derive(Debug, Clone, Default)]
struct Switches {
    crash: CancellationToken,
    stop: CancellationToken,
    /// Until when it stands still: whoever passes a point waits for that.
    asleep: Arc<Mutex<Option<DateTime<Utc>>>>,
}

impl Switches {
    fn fall_asleep(&self, until: DateTime<Utc>) {
        *self.asleep.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    fn asleep(&self) -> Option<DateTime<Utc>> {
        *self.asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a crash ends: everything that was given this process's [`faults`](Self::faults). A cheap handle.
#[derive(Debug, Clone, Default)]
pub struct Process {
    faults: Faults,
    switches: Switches,
}

impl Process {
    /// The plan, as this process meets it.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Cancelled when the process is told to stop.
    pub fn token(&self) -> CancellationToken {
        self.switches.stop.clone()
    }

    /// Runs `work` to its end, or until the process crashes: then `work` is dropped where it stands and the answer
    /// is `None`.
    ///
    /// Cancellation: dropping the future drops `work`.
    pub async fn run<F: Future>(&self, work: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.switches.crash.cancelled() => None,
            output = work => Some(output),
        }
    }
}
