//! Nothing is in scope.

#![no_implicit_prelude]

/// An event.
#[derive(::std::fmt::Debug, ::serde::Serialize, ::serde::Deserialize, ::events::DomainEvent)]
#[domain_event(stream = "a", topic = "b", partition_key = 0, crate = ::events)]
pub struct Bare(u64);

/// Handles an event.
#[::events::event_handler(group = "g", crate = ::events)]
pub async fn bare<S>(
    _: &mut ::events::HandlerContext<'_, S>,
    event: ::events::Envelope<Bare>,
) -> ::events::HandlerResult {
    if event.event.0 == 0 {
        return ::std::result::Result::Err(::events::HandlerError::terminal("zero"));
    }
    ::std::result::Result::Ok(())
}
