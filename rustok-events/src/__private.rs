//! The items that generated code names.

pub use core::{
    concat,
    marker::{Send, Sync},
    module_path,
    option::Option::{self, None, Some},
    primitive::{str, u8, u32},
    result::Result::{self, Err, Ok},
};
pub use std::borrow::Cow;

pub use serde::{Serialize, de::DeserializeOwned};

#[cfg(feature = "runtime")]
pub use self::handlers::*;
pub use crate::{
    BoxError, DecodeError, DomainEvent, EventDescriptor, Key, Lineage, PartitionKey, Payload,
    Scope,
    key::{KeyType, key_inside},
    version::{Event, Unless, decode_version, validate},
};

#[cfg(feature = "runtime")]
mod handlers {
    pub use core::{clone::Clone, fmt::Debug, future::Future, marker::Copy, time::Duration};

    pub use rustok_events_derive::beside;

    pub use crate::handler::{
        Answer, Anywhere, Detached, DetachedContext, EventHandler, HandlerContext, HandlerInput,
        HandlerOptions, HandlerResult, InModule, OnDeadLetter, Place, RetryPolicy, Transactional,
        answer, given,
    };
}

/// Checks at compile time.
pub mod check {
    pub use crate::check::{distinct, follows, name, number};
}
