//! What travels beside the payload: identity, tenant, causation, time, headers; and its form on the wire.
//!
//! On the wire an envelope is a set of headers under CloudEvents 1.0 names, so that a client in another language
//! reads an event without knowing this crate.

mod texts;
mod wire;

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

pub(crate) use self::texts::Texts;
pub use self::wire::WireHeaders;
use crate::EventId;

/// The header names of the wire format.
pub mod header {
    /// The event id, a UUID.
    pub const ID: &str = "ce-id";
    /// The event type, such as `order_placed`.
    pub const TYPE: &str = "ce-type";
    /// Where the event comes from: `/stream/topic`.
    pub const SOURCE: &str = "ce-source";
    /// The version of CloudEvents: `1.0`.
    pub const SPEC_VERSION: &str = "ce-specversion";
    /// When the event occurred, RFC 3339 with microseconds, UTC.
    pub const TIME: &str = "ce-time";
    /// The schema version of the payload.
    pub const DATA_VERSION: &str = "ce-dataversion";
    /// The tenant.
    pub const TENANT_ID: &str = "ce-tenantid";
    /// Who caused it; absent for the system.
    pub const ACTOR_ID: &str = "ce-actorid";
    /// The id shared by everything that one cause set off.
    pub const CORRELATION_ID: &str = "ce-correlationid";
    /// The event that caused this one; absent for the first of a chain.
    pub const CAUSATION_ID: &str = "ce-causationid";
    /// The partition key; absent for an event without one.
    pub const PARTITION_KEY: &str = "ce-partitionkey";
    /// W3C trace context.
    pub const TRACE_PARENT: &str = "traceparent";
    /// The content type of the payload.
    pub const CONTENT_TYPE: &str = "content-type";
    /// Headers that start so belong to the envelope; an application's own may not.
    pub const RESERVED_PREFIX: &str = "ce-";
}

/// Everything known of an event besides its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventMeta {
    pub(crate) id: EventId,
    pub(crate) name: Arc<str>,
    pub(crate) version: u32,
    pub(crate) stream: Arc<str>,
    pub(crate) topic: Arc<str>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) tenant_id: Uuid,
    pub(crate) actor_id: Option<Uuid>,
    pub(crate) correlation_id: Uuid,
    pub(crate) causation_id: Option<Uuid>,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) content_type: Arc<str>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) attempt: u32,
}

impl EventMeta {
    /// The event's identity.
    pub fn id(&self) -> EventId {
        self.id
    }
    /// The event type on the wire, such as `order_placed`.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The schema version the payload was written in.
    pub fn version(&self) -> u32 {
        self.version
    }
    /// The stream it was published to.
    pub fn stream(&self) -> &str {
        &self.stream
    }
    /// The topic it was published to.
    pub fn topic(&self) -> &str {
        &self.topic
    }
    /// The partition key's bytes; `None` for an event whose order does not matter.
    pub fn partition_key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }
    /// The tenant; nil for a platform event.
    pub fn tenant_id(&self) -> Uuid {
        self.tenant_id
    }
    /// Who caused it; `None` for the system.
    pub fn actor_id(&self) -> Option<Uuid> {
        self.actor_id
    }
    /// The id shared by everything that one cause set off: the first event's own id.
    pub fn correlation_id(&self) -> Uuid {
        self.correlation_id
    }
    /// The event that caused this one.
    pub fn causation_id(&self) -> Option<Uuid> {
        self.causation_id
    }
    /// When it was published, by the publisher's clock, in microseconds.
    pub fn occurred_at(&self) -> DateTime<Utc> {
        self.occurred_at
    }
    /// Which attempt of the handler this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
    /// The application's own headers.
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.headers
    }

    /// The headers that carry this envelope on the wire.
    pub fn to_wire(&self) -> WireHeaders {
        // In the order of their names, so that each goes to the end.
        const ROOM: usize = 320;
        let mut wire = WireHeaders::with_capacity(12 + self.headers.len(), ROOM);
        if let Some(actor) = self.actor_id {
            put_id(&mut wire, header::ACTOR_ID, actor);
        }
        if let Some(cause) = self.causation_id {
            put_id(&mut wire, header::CAUSATION_ID, cause);
        }
        put_id(&mut wire, header::CORRELATION_ID, self.correlation_id);
        wire.insert(header::DATA_VERSION, self.version.to_string());
        put_id(&mut wire, header::ID, self.id.as_uuid());
        if let Some(key) = &self.key {
            wire.insert(header::PARTITION_KEY, key);
        }
        wire.insert(header::SOURCE, ["/", &self.stream, "/", &self.topic].concat());
        wire.insert(header::SPEC_VERSION, "1.0");
        put_id(&mut wire, header::TENANT_ID, self.tenant_id);
        wire.insert(header::TIME, self.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true));
        wire.insert(header::TYPE, &*self.name);
        wire.insert(header::CONTENT_TYPE, &*self.content_type);
        for (name, value) in &self.headers {
            wire.insert(name.clone(), value);
        }
        wire
    }

    /// Reads an envelope off the wire.
    ///
    /// # Errors
    /// [`EnvelopeError`] names the header that is missing or that cannot be read.
    pub fn from_wire(wire: &WireHeaders) -> Result<Self, EnvelopeError> {
        Self::from_wire_with(wire, &mut Texts::default())
    }

    /// [`from_wire`](Self::from_wire), with what earlier events have in common with this one.
    pub(crate) fn from_wire_with(
        wire: &WireHeaders,
        texts: &mut Texts,
    ) -> Result<Self, EnvelopeError> {
        let (own, headers) = Own::of(wire);
        let source = text(own.source, header::SOURCE)?;
        let (stream, topic) = source
            .strip_prefix('/')
            .and_then(|path| path.split_once('/'))
            .ok_or_else(|| EnvelopeError::unreadable(header::SOURCE, source))?;
        let id = parsed::<Uuid>(own.id, header::ID)?;
        Ok(Self {
            id: EventId::from(id),
            name: texts.keep(text(own.name, header::TYPE)?),
            version: parsed(own.version, header::DATA_VERSION)?,
            stream: texts.keep(stream),
            topic: texts.keep(topic),
            key: own.key.map(<[u8]>::to_vec),
            tenant_id: parsed(own.tenant_id, header::TENANT_ID)?,
            actor_id: optional(own.actor_id, header::ACTOR_ID)?,
            correlation_id: optional(own.correlation_id, header::CORRELATION_ID)?.unwrap_or(id),
            causation_id: optional(own.causation_id, header::CAUSATION_ID)?,
            occurred_at: time(own.time)?,
            content_type: texts.keep(text(own.content_type, header::CONTENT_TYPE)?),
            headers,
            attempt: 1,
        })
    }
}

/// The envelope's own headers as they came.
#[derive(Default)]
struct Own<'w> {
    source: Option<&'w [u8]>,
    id: Option<&'w [u8]>,
    name: Option<&'w [u8]>,
    version: Option<&'w [u8]>,
    key: Option<&'w [u8]>,
    tenant_id: Option<&'w [u8]>,
    actor_id: Option<&'w [u8]>,
    correlation_id: Option<&'w [u8]>,
    causation_id: Option<&'w [u8]>,
    time: Option<&'w [u8]>,
    content_type: Option<&'w [u8]>,
}

impl<'w> Own<'w> {
    /// Tells them from the application's, in one pass: looking up a dozen names takes longer.
    fn of(wire: &'w WireHeaders) -> (Self, BTreeMap<String, String>) {
        let (mut own, mut headers) = (Self::default(), BTreeMap::new());
        for (name, value) in wire.iter() {
            let place = match name {
                header::SOURCE => &mut own.source,
                header::ID => &mut own.id,
                header::TYPE => &mut own.name,
                header::DATA_VERSION => &mut own.version,
                header::PARTITION_KEY => &mut own.key,
                header::TENANT_ID => &mut own.tenant_id,
                header::ACTOR_ID => &mut own.actor_id,
                header::CORRELATION_ID => &mut own.correlation_id,
                header::CAUSATION_ID => &mut own.causation_id,
                header::TIME => &mut own.time,
                header::CONTENT_TYPE => &mut own.content_type,
                _ if name.starts_with(header::RESERVED_PREFIX) => continue,
                _ => {
                    if let Ok(value) = std::str::from_utf8(value) {
                        headers.insert(name.to_owned(), value.to_owned());
                    }
                    continue;
                }
            };
            *place = Some(value);
        }
        (own, headers)
    }
}

fn put_id(wire: &mut WireHeaders, name: &'static str, id: Uuid) {
    wire.insert(name, id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
}

fn text<'w>(value: Option<&'w [u8]>, name: &'static str) -> Result<&'w str, EnvelopeError> {
    let bytes = value.ok_or(EnvelopeError::Missing { header: name })?;
    std::str::from_utf8(bytes)
        .map_err(|_| EnvelopeError::unreadable(name, &String::from_utf8_lossy(bytes)))
}

/// Written by this crate it is RFC 3339, which is read faster than whatever else a time may look like.
fn time(value: Option<&[u8]>) -> Result<DateTime<Utc>, EnvelopeError> {
    match DateTime::parse_from_rfc3339(text(value, header::TIME)?) {
        Ok(time) => Ok(time.to_utc()),
        Err(_) => parsed(value, header::TIME),
    }
}

fn parsed<T: std::str::FromStr>(
    value: Option<&[u8]>,
    name: &'static str,
) -> Result<T, EnvelopeError> {
    let value = text(value, name)?;
    value.parse().map_err(|_| EnvelopeError::unreadable(name, value))
}

fn optional<T: std::str::FromStr>(
    value: Option<&[u8]>,
    name: &'static str,
) -> Result<Option<T>, EnvelopeError> {
    value.map(|_| parsed(value, name)).transpose()
}

/// Why headers did not become an envelope: the message was not written by this crate, or was damaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// A header that every event has is not there.
    #[error("the message has no `{header}` header")]
    Missing {
        /// Its name.
        header: &'static str,
    },
    /// A header is there, but is not what its name says.
    #[error("the `{header}` header cannot be read: `{value}`")]
    Unreadable {
        /// Its name.
        header: &'static str,
        /// Its value.
        value: String,
    },
}

impl EnvelopeError {
    fn unreadable(header: &'static str, value: &str) -> Self {
        Self::Unreadable { header, value: value.to_owned() }
    }

    /// A short, stable code for records and metrics.
    pub fn code(&self) -> &'static str {
        "malformed_envelope"
    }
}

/// An event with everything known of it. Dereferences to its [`EventMeta`].
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope<E> {
    /// The event itself.
    pub event: E,
    /// What travelled beside it.
    pub meta: EventMeta,
}

impl<E> Deref for Envelope<E> {
    type Target = EventMeta;

    fn deref(&self) -> &EventMeta {
        &self.meta
    }
}

impl<E> AsRef<EventMeta> for Envelope<E> {
    fn as_ref(&self) -> &EventMeta {
        &self.meta
    }
}

impl AsRef<EventMeta> for EventMeta {
    fn as_ref(&self) -> &EventMeta {
        self
    }
}
