//! One handler with no broker at all: given what was, when an event comes, then this follows.

use std::sync::{Arc, atomic::AtomicBool};

use sea_orm::{DatabaseConnection, TransactionTrait};
use uuid::Uuid;

use super::{TestError, home::Home, published};
use crate::{
    Codec, DomainEvent, Envelope, TransactionalEventBus,
    codec::EncodedPayload,
    handler::{Delivered, Erased, ErasedHandler, EventHandler, Failure, Invocation},
    outbox::OutboxRecord,
};

/// A handler on a database in memory, called directly: decoded and committed as the consumers do, without inbox,
/// retries and broker.
///
/// ```no_run
/// # use rustok_events::{prelude::*, testing::{HandlerTest, TestError}};
/// # async fn f<H: EventHandler<()>, E: DomainEvent>(index_order: H, tenant: uuid::Uuid, event: E) -> Result<(), TestError> {
/// let test = HandlerTest::builder().handler(index_order).start().await?;
/// let then = test.when(tenant, event).await?;
/// assert!(then.is_ok());
/// # Ok(()) }
/// ```
pub struct HandlerTest<S> {
    home: Home,
    state: Arc<S>,
    handler: Arc<dyn ErasedHandler<S>>,
    bus: TransactionalEventBus,
}

/// Collects what a test of a handler needs. Made by [`HandlerTest::builder`].
#[derive(Debug)]
#[must_use = "nothing is tested until `handler(…).start()`"]
pub struct HandlerTestBuilder<S, H = ()> {
    state: S,
    handler: H,
    database: Option<String>,
}

impl HandlerTest<()> {
    /// Starts to describe a test.
    pub fn builder() -> HandlerTestBuilder<()> {
        HandlerTestBuilder { state: (), handler: (), database: None }
    }
}

impl<S, H> HandlerTestBuilder<S, H> {
    /// Gives the handler its state.
    pub fn state<T>(self, state: T) -> HandlerTestBuilder<T, H> {
        HandlerTestBuilder { state, handler: self.handler, database: self.database }
    }

    /// Sets the handler.
    pub fn handler<T>(self, handler: T) -> HandlerTestBuilder<S, T> {
        HandlerTestBuilder { state: self.state, handler, database: self.database }
    }

    /// Runs the test on another database, as [`TestAppBuilder::database`](super::TestAppBuilder::database) does.
    pub fn database(mut self, url: impl Into<String>) -> Self {
        self.database = Some(url.into());
        self
    }

    /// Makes the database.
    ///
    /// # Errors
    /// The database's.
    pub async fn start(self) -> Result<HandlerTest<S>, TestError>
    where
        S: Send + Sync + 'static,
        H: EventHandler<S>,
    {
        let home = match self.database {
            Some(url) => Home::at(&url).await?,
            None => Home::in_memory().await?,
        };
        Ok(HandlerTest {
            home,
            state: Arc::new(self.state),
            handler: Arc::new(Erased(self.handler)),
            bus: TransactionalEventBus::new(),
        })
    }
}

/// What followed from an event.
#[derive(Debug)]
pub struct Then {
    db: DatabaseConnection,
    result: Result<(), Failure>,
    /// How many outbox rows there were before.
    before: Vec<crate::EventId>,
}

impl<S: Send + Sync + 'static> HandlerTest<S> {
    /// The database, for the application's tables and for what the handler wrote.
    pub fn db(&self) -> &DatabaseConnection {
        &self.home.db
    }

    /// The handler's state.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// An earlier event, which the handler must have handled.
    ///
    /// # Errors
    /// [`TestError::Given`] if it does not.
    pub async fn given<E: DomainEvent>(&self, tenant_id: Uuid, event: E) -> Result<(), TestError> {
        let then = self.when(tenant_id, event).await?;
        then.result.map_err(TestError::Given)
    }

    /// Calls the handler with an event. What it wrote and published is committed if it answers `Ok`, and rolled
    /// back if not.
    ///
    /// # Errors
    /// What the bus or the database refuse; [`TestError::WrongEvent`] if the handler is not for this event. A
    /// failure of the handler is not an error: ask [`Then::failure`].
    pub async fn when<E: DomainEvent>(&self, tenant_id: Uuid, event: E) -> Result<Then, TestError> {
        let spec = self.handler.spec();
        let delivered = delivery(tenant_id, &event)?;
        if !spec.accepts(delivered.meta.name()) {
            let event = delivered.meta.name().to_owned();
            return Err(TestError::WrongEvent { handler: spec.name, event });
        }
        let before = published::ids(&self.home.db).await?;
        let published = AtomicBool::new(false);
        let mut invocation =
            Invocation { txn: None, bus: &self.bus, state: &*self.state, published: &published };
        let deliveries = [&delivered];
        let result = if spec.inbox {
            let txn = self.home.db.begin().await?;
            invocation.txn = Some(&txn);
            let result = self.handler.call(invocation, &deliveries).await;
            match result {
                Ok(()) => txn.commit().await?,
                Err(_) => txn.rollback().await?,
            }
            result
        } else {
            self.handler.call(invocation, &deliveries).await
        };
        Ok(Then { db: self.home.db.clone(), result, before })
    }
}

fn delivery<E: DomainEvent>(tenant_id: Uuid, event: &E) -> Result<Delivered, TestError> {
    let circumstances = crate::outbox::Circumstances { tenant_id, ..Default::default() };
    let record = OutboxRecord::build(event, circumstances, Codec::Json, &crate::Clock::system())?;
    let payload = EncodedPayload { codec: Codec::Json, bytes: record.payload };
    Ok(Delivered { meta: record.meta, payload })
}

impl Then {
    /// Whether the handler answered `Ok`.
    pub fn is_ok(&self) -> bool {
        self.result.is_ok()
    }

    /// Why the handler did not handle the event.
    pub fn failure(&self) -> Option<&Failure> {
        self.result.as_ref().err()
    }

    /// The events of a type that the handler published, in order.
    ///
    /// # Errors
    /// The database's, or [`TestError::Decode`].
    pub async fn published<E: DomainEvent>(&self) -> Result<Vec<Envelope<E>>, TestError> {
        let mut published = published::published::<E>(&self.db).await?;
        published.retain(|envelope| !self.before.contains(&envelope.id()));
        Ok(published)
    }
}

impl<S> std::fmt::Debug for HandlerTest<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerTest").finish_non_exhaustive()
    }
}
