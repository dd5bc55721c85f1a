//! An application under test: relay, broker and consumers, in one process and one call.

mod builder;
mod flight;
mod life;
mod observed;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sea_orm::{DatabaseConnection, TransactionTrait};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::builder::TestAppBuilder;
use self::{flight::InFlight, observed::Traffic};
use super::{TestError, home::Home, published};
use crate::{
    Clock, DomainEvent, Envelope, EventId, RuntimeError, TransactionalEventBus,
    consumer::middleware::{Call, Middleware, Next},
    dead_letter::{DeadLetter, DeadLetters, Filter},
    handler::{Failure, HandlerSpec},
    inbox,
    outbox::wake,
    transport::BoxFuture,
    transport::iggy::IggyTransport,
};

/// How long [`TestApp::settle`] waits, unless told otherwise.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Relay, broker and consumers on a database in memory, with a clock moved by hand. Stops when it is dropped.
///
/// ```no_run
/// # use rustok_events::{prelude::*, testing::TestApp};
/// # async fn f<H, E>(index_order: H, tenant: uuid::Uuid, event: E) -> Result<(), rustok_events::testing::TestError>
/// # where H: EventHandler<()>, E: DomainEvent {
/// let app = TestApp::builder().state(()).handler(index_order).start().await?;
/// app.publish(tenant, event).await?;
/// app.settle().await?;
/// assert_eq!(app.handled("search", "index_order").await?, 1);
/// assert!(app.dead_letters().await?.is_empty());
/// # Ok(()) }
/// ```
///
/// The database is SQLite in memory and has one connection: a handler that asks the pool for another one besides
/// `ctx.tx()`, or a test that settles with a transaction open, waits for itself, and after five seconds is told so.
/// [`TestAppBuilder::database`] runs the same test on another database.
///
/// The clock stands still. An event that fails is held and tried again when
/// [`clock().advance(…)`](Clock::advance) passes its pause.
#[derive(Debug)]
pub struct TestApp {
    home: Home,
    clock: Clock,
    bus: TransactionalEventBus,
    specs: Vec<HandlerSpec>,
    counts: Counts,
    traffic: Traffic,
    transport: IggyTransport,
    token: CancellationToken,
    running: Mutex<Option<JoinHandle<Result<(), RuntimeError>>>>,
    settle_timeout: Duration,
}

impl TestApp {
    /// Starts to describe an app.
    pub fn builder() -> TestAppBuilder<()> {
        TestAppBuilder::new()
    }

    /// Publishes an event in a transaction of its own and commits it.
    ///
    /// # Errors
    /// What the bus or the database refuse.
    pub async fn publish<E: DomainEvent>(
        &self,
        tenant_id: Uuid,
        event: E,
    ) -> Result<EventId, TestError> {
        let txn = self.home.db.begin().await?;
        let id = self.bus.publish_in_tx(&txn, tenant_id, None, event).await?;
        self.bus.commit(txn).await?;
        Ok(id)
    }

    /// Publishes events of one type, in order, in one transaction.
    ///
    /// # Errors
    /// What the bus or the database refuse.
    pub async fn publish_all<E: DomainEvent>(
        &self,
        tenant_id: Uuid,
        events: impl IntoIterator<Item = E>,
    ) -> Result<Vec<EventId>, TestError> {
        let txn = self.home.db.begin().await?;
        let ids = self.bus.publish_all_in_tx(&txn, tenant_id, None, events).await?;
        self.bus.commit(txn).await?;
        Ok(ids)
    }

    /// Waits until nothing is in flight: every committed event is at the broker, every group is done with it, and
    /// no held or delayed event is due. What is due later waits for the [clock](Self::clock).
    ///
    /// # Errors
    /// [`TestError::NotSettled`] says what is still in flight after ten seconds, or after
    /// [`TestAppBuilder::settle_timeout`]; [`TestError::Stopped`] says why the runtime stopped by itself.
    pub async fn settle(&self) -> Result<(), TestError> {
        let settled = tokio::time::timeout(self.settle_timeout, async {
            loop {
                self.check_running().await?;
                // Whoever committed without the bus has woken nobody.
                wake::notify();
                if self.in_flight().await?.is_none() {
                    return Ok(());
                }
                self.traffic.changed(Duration::from_millis(2)).await;
            }
        });
        if let Ok(settled) = settled.await {
            return settled;
        }
        let in_flight = self.in_flight().await?;
        Err(TestError::NotSettled {
            waited: self.settle_timeout,
            in_flight: in_flight
                .map_or_else(|| "nothing any more".to_owned(), |what| what.to_string()),
        })
    }

    async fn in_flight(&self) -> Result<Option<InFlight>, TestError> {
        flight::look(&self.home.db, &self.clock, &self.specs, &self.traffic).await
    }

    async fn check_running(&self) -> Result<(), TestError> {
        let ended = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            match &*running {
                None => return Err(TestError::AlreadyStopped),
                Some(task) if !task.is_finished() => return Ok(()),
                Some(_) => running.take(),
            }
        };
        match ended {
            Some(task) => match task.await {
                Ok(Err(error)) => Err(TestError::Stopped(error)),
                _ => Err(TestError::AlreadyStopped),
            },
            None => Ok(()),
        }
    }

    /// All committed events of a type, by the test and by handlers, in the order they were written in.
    ///
    /// # Errors
    /// The database's, or [`TestError::Decode`].
    pub async fn published<E: DomainEvent>(&self) -> Result<Vec<Envelope<E>>, TestError> {
        published::published(&self.home.db).await
    }

    /// How many events a handler has handled: as the inbox knows, or for a handler without one as often as it
    /// answered `Ok`.
    ///
    /// # Errors
    /// [`TestError::UnknownHandler`] names the handlers there are.
    pub async fn handled(&self, group: &str, handler: &str) -> Result<u64, TestError> {
        let Some(spec) = self.specs.iter().find(|spec| (spec.group, spec.name) == (group, handler))
        else {
            let known = self.specs.iter().map(|spec| format!("`{}`/`{}`", spec.group, spec.name));
            return Err(TestError::UnknownHandler {
                group: group.to_owned(),
                handler: handler.to_owned(),
                known: known.collect::<Vec<_>>().join(", "),
            });
        };
        if spec.inbox {
            Ok(inbox::handled(&self.home.db, group, handler).await?)
        } else {
            Ok(self.counts.of(group, handler))
        }
    }

    /// All dead letters, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, TestError> {
        Ok(self.letters().list(&Filter::new()).await?)
    }

    /// What operators do with dead letters: retry and discard.
    pub fn letters(&self) -> DeadLetters {
        DeadLetters::new(self.home.db.clone()).with_clock(self.clock.clone())
    }

    /// The database.
    pub fn db(&self) -> &DatabaseConnection {
        &self.home.db
    }

    /// The bus, for events with options and transactions with state.
    pub fn bus(&self) -> TransactionalEventBus {
        self.bus.clone()
    }

    /// The clock, which stands still until it is [advanced](Clock::advance).
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The transport to the embedded broker.
    pub fn transport(&self) -> IggyTransport {
        self.transport.clone()
    }

    /// Stops like a service does: what is being handled is finished. Stopping twice is safe.
    ///
    /// # Errors
    /// [`TestError::Stopped`] if the runtime failed.
    pub async fn stop(&self) -> Result<(), TestError> {
        self.token.cancel();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = running
            && let Ok(Err(error)) = task.await
        {
            return Err(TestError::Stopped(error));
        }
        self.transport.shutdown().await?;
        Ok(())
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.token.cancel();
        if let Some(task) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

/// How often each handler answered `Ok`, by group and name.
#[derive(Debug, Clone, Default)]
struct Counts(Arc<Mutex<HashMap<(&'static str, &'static str), u64>>>);

impl Counts {
    fn of(&self, group: &str, handler: &str) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.iter().find(|((g, h), _)| (*g, *h) == (group, handler));
        count.map_or(0, |(_, count)| *count)
    }
}

impl Middleware for Counts {
    fn handle<'a>(&'a self, call: Call<'a>, next: Next<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            next.run().await?;
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry((call.group(), call.handler())).or_default() +=
                call.envelopes().len() as u64;
            Ok(())
        })
    }
}
