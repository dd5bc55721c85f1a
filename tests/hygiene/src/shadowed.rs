//! Every name that generated code might use is taken.

use events::{
    event_handler, Batch, DetachedContext, DomainEvent, EventHandler, HandlerContext, PartitionKey,
};
use serde::{Deserialize, Serialize};

macro_rules! take {
    ($($name:ident)*) => {$(
        #[allow(dead_code)]
        #[derive(Debug)]
        struct $name;
    )*};
}
take!(Result Option String Vec Box Cow Key Payload EventDescriptor Scope Duration Future);

#[allow(dead_code)]
mod core {}
#[allow(dead_code)]
mod std {}
#[allow(dead_code)]
mod rustok_events {}
#[allow(dead_code)]
mod rt {}

#[allow(unused_macros)]
macro_rules! concat {
    ($($token:tt)*) => {
        compile_error!("not this one")
    };
}
#[allow(unused_macros)]
macro_rules! module_path {
    () => {
        compile_error!("not this one")
    };
}

/// A key of the crate's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, PartitionKey)]
#[partition_key(crate = events)]
pub struct Uuid(u128);

/// An older version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "a", topic = "b", name = "c", partition_key = id, crate = events)]
pub struct ShadowedV1 {
    id: Uuid,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DomainEvent)]
#[domain_event(
    stream = "a",
    topic = "b",
    name = "c",
    partition_key = id.0,
    version = 2,
    previous = ShadowedV1,
    partitions = 3,
    validate = Self::check,
    scope = platform,
    crate = crate::reexports::events
)]
pub struct Shadowed {
    id: Uuid,
    name: ::std::string::String,
    version: u32,
    payload: ::std::option::Option<::std::string::String>,
}

impl Shadowed {
    fn check(&self) -> ::std::result::Result<(), ::std::string::String> {
        if self.version > 9 {
            return ::std::result::Result::Err(self.name.clone());
        }
        ::std::result::Result::Ok(())
    }
}

impl ::std::convert::From<ShadowedV1> for Shadowed {
    fn from(old: ShadowedV1) -> Self {
        Self {
            id: old.id,
            name: ::std::string::String::new(),
            version: 1,
            payload: ::std::option::Option::None,
        }
    }
}

/// Variants of every shape, under names that the prelude has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "a", topic = "b", crate = events)]
pub enum Outcome {
    /// As in a result.
    #[domain_event(partition_key = r#type)]
    Ok {
        /// A key under a keyword.
        r#type: u8,
    },
    /// As in a result.
    Err(#[domain_event(partition_key)] ::std::string::String, u8),
    /// As in an option.
    #[domain_event(partition_key = none)]
    None,
}

/// Handles an event.
#[event_handler(group = "g", retry(attempts = 2, min = "1s", max = "2s"), on_dead_letter = continue, crate = events)]
pub async fn handle(ctx: &mut HandlerContext<'_, Uuid>, event: Shadowed) -> events::HandlerResult {
    if ctx.state() == &event.id {
        ctx.publish(event).await?;
    }
    ::std::result::Result::Ok(())
}

/// Handles an event, and waits for nothing.
#[event_handler(group = "g", inbox = none, crate = events)]
pub async fn tell<S>(_: &mut DetachedContext<'_, S>, _: Outcome) -> events::HandlerResult
where
    S: Clone,
{
    ::std::result::Result::Ok(())
}

/// Handles an event, with a state of which something is known.
#[event_handler(group = "h", crate = events)]
pub async fn known<S: Clone>(
    _: &mut HandlerContext<'_, S>,
    _: events::Envelope<Outcome>,
) -> events::HandlerResult {
    ::std::result::Result::Ok(())
}

/// Handles an event, with a state that is known in part.
#[event_handler(group = "h", crate = events)]
pub async fn partly<T, const N: usize>(
    _: &mut HandlerContext<'_, [T; N]>,
    _: Outcome,
) -> events::HandlerResult
where
    T: Clone,
{
    ::std::result::Result::Ok(())
}

/// Handlers in the body of a function.
#[must_use]
pub fn in_a_body() -> impl EventHandler<u8> {
    /// A local event.
    #[derive(Debug, Serialize, Deserialize, DomainEvent)]
    #[domain_event(stream = "a", topic = "b", partition_key = none, crate = events)]
    struct LocalV1;

    /// Its next version.
    #[derive(Debug, Serialize, Deserialize, DomainEvent)]
    #[domain_event(
        stream = "a",
        topic = "b",
        name = "local_v1",
        version = 2,
        previous = LocalV1,
        partition_key = none,
        crate = events
    )]
    struct Local;

    impl ::std::convert::From<LocalV1> for Local {
        fn from(_: LocalV1) -> Self {
            Self
        }
    }

    #[event_handler(group = "g", crate = events)]
    async fn local<S>(_: &mut HandlerContext<'_, S>, _: Batch<Local>) -> events::HandlerResult {
        ::std::result::Result::Ok(())
    }

    local
}
