//! A domain event: the trait behind `#[derive(DomainEvent)]`, and how its payload comes back.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{BoxError, EventDescriptor, Key, Lineage};

/// An event of the domain: a typed payload that knows its stream, its topic and its key.
///
/// Derive it; the derive writes constants and one call. Nothing public sends a `DomainEvent` anywhere but through
/// a transaction.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a domain event",
    label = "not a domain event",
    note = "add `#[derive(Serialize, Deserialize, DomainEvent)]` and `#[domain_event(stream = \"…\", topic = \"…\", partition_key = …)]` to `{Self}`"
)]
pub trait DomainEvent: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The stream of the topic.
    const STREAM: &'static str;
    /// The topic the events are appended to.
    const TOPIC: &'static str;
    /// The event types: one for a struct, one per variant for an enum.
    const DESCRIPTORS: &'static [EventDescriptor];
    /// The event types of this version and of the versions before it that can be read.
    const LINEAGE: Lineage = Lineage::first(Self::DESCRIPTORS);
    /// The type that declares this one as its `previous` version: an event with a successor is read, and
    /// publishing it does not compile.
    const SUPERSEDED_BY: Option<&'static str> = None;

    /// The event type of this value.
    fn descriptor(&self) -> &'static EventDescriptor;

    /// What this event is ordered by.
    fn partition_key(&self) -> Key<'_>;

    /// The declared `validate` function: run before the event is stored and after it is decoded.
    fn validate_event(&self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Decodes a payload of this event type, or of an older version of it.
    ///
    /// # Errors
    /// [`DecodeError`] names what was wrong: an unknown name or version, bytes that are no such event, or an
    /// event that its validator refuses.
    fn decode_event<P: Payload>(
        name: &str,
        version: u32,
        payload: &P,
    ) -> Result<Self, DecodeError> {
        decode_current(name, version, payload)
    }
}

/// Encoded bytes that know their codec.
pub trait Payload {
    /// Reads the bytes as a `T`.
    fn read<T: DeserializeOwned>(&self) -> Result<T, BoxError>;
}

/// Why bytes did not become an event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The handler's event type has no event of this name.
    #[error("`{expected}` has no event named `{name}`")]
    UnknownName {
        /// The name on the wire.
        name: String,
        /// The Rust type that was asked for.
        expected: &'static str,
    },
    /// Neither the event nor any version before it has this version.
    #[error("`{name}` has no version {version}; this program knows up to version {newest}")]
    UnknownVersion {
        /// The name on the wire.
        name: String,
        /// The version on the wire.
        version: u32,
        /// The newest version this program knows.
        newest: u32,
    },
    /// The bytes are not such an event.
    #[error("the payload is not a valid `{name}` version {version}: {source}")]
    Malformed {
        /// The name on the wire.
        name: String,
        /// The version on the wire.
        version: u32,
        /// What the codec said.
        source: BoxError,
    },
    /// The event's own validator refused it.
    #[error("`{name}` version {version} was refused by its validator: {source}")]
    Invalid {
        /// The name on the wire.
        name: String,
        /// The version on the wire.
        version: u32,
        /// What the validator said.
        source: BoxError,
    },
}

impl DecodeError {
    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownName { .. } => "unknown_event",
            Self::UnknownVersion { .. } => "unknown_version",
            Self::Malformed { .. } => "malformed_payload",
            Self::Invalid { .. } => "invalid_event",
        }
    }
}

/// Decodes a payload that must be of the type's own version.
pub(crate) fn decode_current<E: DomainEvent, P: Payload>(
    name: &str,
    version: u32,
    payload: &P,
) -> Result<E, DecodeError> {
    let Some(descriptor) = E::DESCRIPTORS.iter().find(|d| d.name == name) else {
        return Err(DecodeError::UnknownName {
            name: name.to_owned(),
            expected: std::any::type_name::<E>(),
        });
    };
    if descriptor.version != version {
        return Err(DecodeError::UnknownVersion {
            name: name.to_owned(),
            version,
            newest: descriptor.version,
        });
    }
    let event: E = payload.read().map_err(|source| DecodeError::Malformed {
        name: name.to_owned(),
        version,
        source,
    })?;
    check_decoded(event, name, version)
}

/// Checks that an event is what its envelope says, and valid.
pub(crate) fn check_decoded<E: DomainEvent>(
    event: E,
    name: &str,
    version: u32,
) -> Result<E, DecodeError> {
    if event.descriptor().name != name {
        return Err(DecodeError::Malformed {
            name: name.to_owned(),
            version,
            source: format!("the payload holds a `{}`", event.descriptor().name).into(),
        });
    }
    event.validate_event().map_err(|source| DecodeError::Invalid {
        name: name.to_owned(),
        version,
        source,
    })?;
    Ok(event)
}

/// An event's identity: a UUID v7, also the message id on the broker.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// A new id, ordered by time.
    #[allow(clippy::new_without_default, reason = "two calls give two values")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Its 16 bytes.
    #[cfg(feature = "runtime")]
    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The UUID itself.
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for EventId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl From<EventId> for Uuid {
    fn from(id: EventId) -> Self {
        id.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({})", self.0)
    }
}
