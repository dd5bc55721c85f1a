//! The events of a schedule, and the handlers that write down what they do.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};

use super::{
    plan::{Fate, Plan},
    tables,
};
use crate::{
    Batch, DomainEvent, Envelope, EventDescriptor, EventHandler, EventId, HandlerContext,
    HandlerResult, Key,
    envelope::header,
    handler::{HandlerError, HandlerOptions, RetryPolicy, Transactional},
    transport::{OutgoingMessage, TopicName},
};

/// What writers publish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Fact {
    pub(super) key: String,
    pub(super) number: u32,
}

/// What the handler `record` of the group `alpha` publishes after a fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Echo {
    pub(super) key: String,
    pub(super) number: u32,
}

macro_rules! event {
    ($event:ident, $name:literal, $topic:literal, $partitions:literal) => {
        impl DomainEvent for $event {
            const STREAM: &'static str = "harness";
            const TOPIC: &'static str = $topic;
            const DESCRIPTORS: &'static [EventDescriptor] =
                &[EventDescriptor::new($name, 1, "harness", $topic).partitions($partitions)];

            fn descriptor(&self) -> &'static EventDescriptor {
                &Self::DESCRIPTORS[0]
            }

            fn partition_key(&self) -> Key<'_> {
                Key::of(&self.key)
            }
        }
    };
}
event!(Fact, "fact", "facts", 2);
event!(Echo, "echo", "echoes", 2);

impl Fact {
    /// The fact in a message; `None` if it is another event.
    pub(super) fn of(message: &OutgoingMessage) -> Option<Self> {
        let name = message.headers.get(header::TYPE)?;
        let is_fact = name == Self::DESCRIPTORS[0].name.as_bytes();
        is_fact.then(|| serde_json::from_slice(&message.payload).ok()).flatten()
    }
}

/// The topics of a schedule.
pub(super) const TOPICS: [fn() -> TopicName; 2] =
    [|| TopicName::new(Fact::STREAM, Fact::TOPIC), || TopicName::new(Echo::STREAM, Echo::TOPIC)];

/// Who is to have an effect from which topic.
pub(super) const READERS: [(&str, &str, &str); 4] = [
    ("alpha", "record", "facts"),
    ("alpha", "audit", "facts"),
    ("beta", "record", "facts"),
    ("beta", "hear", "echoes"),
];

/// The state of the handlers: how often each is still to fail.
#[derive(Debug)]
pub(super) struct App {
    fates: Mutex<HashMap<(&'static str, &'static str, u32), Fate>>,
}

impl App {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { fates: Mutex::new(plan.fates.clone()) }
    }

    /// Fails if it is to, or spoils `txn` and says nothing.
    async fn meet(
        &self,
        txn: &DatabaseTransaction,
        group: &'static str,
        handler: &'static str,
        number: u32,
    ) -> HandlerResult {
        match self.turn(group, handler, number) {
            None | Some(Fate::Fails(0) | Fate::Ignores(0)) => Ok(()),
            Some(Fate::Fails(_)) => Err(HandlerError::retryable("not this time")),
            Some(Fate::Ignores(_)) => {
                // There is no such table.
                txn.execute_unprepared("SELECT 1 FROM harness_nowhere").await.ok();
                Ok(())
            }
            // Without the panic hook, which would print each of them.
            Some(Fate::Panics) => std::panic::resume_unwind(Box::new("a handler's panic")),
            Some(Fate::Hopeless) => Err(HandlerError::retryable("never")),
            Some(Fate::Terminal) => Err(HandlerError::terminal("never, and retries are no use")),
        }
    }

    /// What is to happen at this call.
    fn turn(&self, group: &'static str, handler: &'static str, number: u32) -> Option<Fate> {
        let mut fates = self.fates.lock().unwrap_or_else(PoisonError::into_inner);
        let fate = fates.get_mut(&(group, handler, number))?;
        let now = *fate;
        match fate {
            Fate::Fails(times) | Fate::Ignores(times) => *times = times.saturating_sub(1),
            Fate::Panics => *fate = Fate::Fails(0),
            Fate::Hopeless | Fate::Terminal => {}
        }
        Some(now)
    }
}

const RETRY: HandlerOptions = HandlerOptions::new().retry(RetryPolicy {
    attempts: 4,
    min: Duration::from_millis(50),
    max: Duration::from_millis(400),
});

/// Writes an effect down.
async fn effect(
    txn: &DatabaseTransaction,
    group: &str,
    handler: &str,
    event: EventId,
) -> Result<(), DbErr> {
    txn.execute_raw(tables::effect(txn.get_database_backend(), group, handler, event)).await?;
    Ok(())
}

macro_rules! handler {
    ($handler:ident, $group:literal, $name:literal, $input:ty, |$ctx:ident, $input_name:ident| $body:block) => {
        pub(super) struct $handler;

        impl EventHandler<Arc<App>> for $handler {
            const GROUP: &'static str = $group;
            const NAME: &'static str = $name;
            const OPTIONS: HandlerOptions = RETRY;
            type Input = $input;
            type Mode = Transactional;

            async fn handle(
                &self,
                $ctx: &mut HandlerContext<'_, Arc<App>>,
                $input_name: $input,
            ) -> HandlerResult $body
        }
    };
}

handler!(AlphaRecord, "alpha", "record", Envelope<Fact>, |ctx, fact| {
    effect(ctx.tx(), Self::GROUP, Self::NAME, fact.id()).await?;
    // A failure after an effect and before a follow-up: neither may stay.
    ctx.state().meet(ctx.tx(), Self::GROUP, Self::NAME, fact.event.number).await?;
    let Fact { key, number } = fact.event.clone();
    let id = ctx.publish(Echo { key: key.clone(), number }).await?;
    let row = tables::WrittenRow {
        event_id: id.as_uuid(),
        topic: Echo::TOPIC.to_owned(),
        key,
        version: None,
        cause: Some(fact.id().as_uuid()),
        position: 0,
    };
    ctx.tx().execute_raw(tables::written(ctx.tx().get_database_backend(), &row)).await?;
    Ok(())
});

handler!(AlphaAudit, "alpha", "audit", Envelope<Fact>, |ctx, fact| {
    ctx.state().meet(ctx.tx(), Self::GROUP, Self::NAME, fact.event.number).await?;
    effect(ctx.tx(), Self::GROUP, Self::NAME, fact.id()).await?;
    Ok(())
});

handler!(BetaRecord, "beta", "record", Envelope<Fact>, |ctx, fact| {
    effect(ctx.tx(), Self::GROUP, Self::NAME, fact.id()).await?;
    ctx.state().meet(ctx.tx(), Self::GROUP, Self::NAME, fact.event.number).await?;
    Ok(())
});

handler!(BetaHear, "beta", "hear", Batch<Echo>, |ctx, echoes| {
    for echo in &echoes {
        effect(ctx.tx(), Self::GROUP, Self::NAME, echo.id()).await?;
    }
    Ok(())
});
