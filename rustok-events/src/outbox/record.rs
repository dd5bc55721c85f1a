//! An event made ready to be stored: checked, encoded, addressed.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use twox_hash::XxHash3_128 as Xxh3Hash128;
use uuid::Uuid;

use super::PublishError;
use crate::{
    Codec, DomainEvent, EventId, Key, Scope,
    clock::Clock,
    envelope::{EventMeta, header},
    transport::TopicName,
};

/// The largest payload the broker takes, in bytes.
const MAX_PAYLOAD: usize = 64 * 1000 * 1000;
/// The most that all application headers of an event may take, in bytes: the broker takes 100 kB, and the
/// envelope's own need at most 4 kB of it.
const MAX_HEADERS: usize = 96 * 1000;

/// One row of the outbox.
#[derive(Debug, Clone)]
pub(crate) struct OutboxRecord {
    pub(crate) meta: EventMeta,
    /// The declared partition count, so that a relay that does not know the type can provision its topic.
    pub(crate) partitions: Option<u32>,
    pub(crate) payload: Bytes,
}

/// What the publisher says of an event besides the event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Circumstances {
    pub(crate) tenant_id: Uuid,
    pub(crate) actor_id: Option<Uuid>,
    pub(crate) id: Option<EventId>,
    pub(crate) correlation_id: Option<Uuid>,
    pub(crate) causation_id: Option<Uuid>,
    pub(crate) headers: BTreeMap<String, String>,
    /// Not to be published before.
    pub(crate) at: Option<DateTime<Utc>>,
}

impl OutboxRecord {
    /// Checks and encodes an event. Nothing is written: a refusal leaves the transaction as it was.
    pub(crate) fn build<E: DomainEvent>(
        event: &E,
        circumstances: Circumstances,
        codec: Codec,
        clock: &Clock,
    ) -> Result<Self, PublishError> {
        const { crate::version::assert_newest::<E>() };
        let descriptor = event.descriptor();
        let name = descriptor.name;
        event.validate_event().map_err(|source| PublishError::Invalid { name, source })?;
        if circumstances.tenant_id.is_nil() && descriptor.scope == Scope::Tenant {
            return Err(PublishError::NilTenant { name });
        }
        let key = match event.partition_key() {
            Key::Bytes(bytes) => Some(bytes.into_owned()),
            Key::Tenant => Some(circumstances.tenant_id.to_string().into_bytes()),
            Key::None => None,
        };
        if let Some(bytes) = key.as_ref().map(Vec::len).filter(|len| !(1..=255).contains(len)) {
            return Err(PublishError::KeyLength { name, bytes });
        }
        check_headers(&circumstances.headers)?;
        let payload =
            codec.encode(event).map_err(|source| PublishError::Encode { name, source })?;
        if payload.len() > MAX_PAYLOAD {
            return Err(PublishError::TooLarge { name, bytes: payload.len(), limit: MAX_PAYLOAD });
        }
        let id = circumstances.id.unwrap_or_else(EventId::new);
        Ok(Self {
            meta: EventMeta {
                id,
                name: name.into(),
                version: descriptor.version,
                stream: descriptor.stream.into(),
                topic: descriptor.topic.into(),
                key,
                tenant_id: circumstances.tenant_id,
                actor_id: circumstances.actor_id,
                correlation_id: circumstances.correlation_id.unwrap_or(id.as_uuid()),
                causation_id: circumstances.causation_id,
                occurred_at: clock.now(),
                content_type: codec.content_type().into(),
                headers: circumstances.headers,
                attempt: 1,
            },
            partitions: descriptor.partitions,
            payload: payload.into(),
        })
    }
}

impl OutboxRecord {
    /// Where it is published to.
    pub(crate) fn topic(&self) -> TopicName {
        TopicName::new(self.meta.stream.to_string(), self.meta.topic.to_string())
    }

    /// What makes two events under one id the same event: everything but times, cause and headers.
    pub(crate) fn digest(&self) -> Vec<u8> {
        let meta = &self.meta;
        let mut hasher = Xxh3Hash128::new();
        let version = meta.version.to_le_bytes();
        let key = meta.key.as_deref().unwrap_or_default();
        let parts: [&[u8]; 7] = [
            meta.name.as_bytes(),
            &version,
            meta.stream.as_bytes(),
            meta.topic.as_bytes(),
            meta.tenant_id.as_bytes(),
            key,
            &self.payload,
        ];
        for part in parts {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part);
        }
        hasher.finish_128().to_be_bytes().to_vec()
    }
}

fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), PublishError> {
    let refuse =
        |header: &str, reason| Err(PublishError::Header { header: header.to_owned(), reason });
    for (name, value) in headers {
        if name.starts_with(header::RESERVED_PREFIX) || name == header::CONTENT_TYPE {
            return refuse(
                name,
                "the name is reserved for the envelope: choose one that does not start with `ce-`",
            );
        }
        if !(1..=255).contains(&name.len()) {
            return refuse(name, "a name has 1 to 255 bytes");
        }
        if !(1..=255).contains(&value.len()) {
            return refuse(name, "a value has 1 to 255 bytes");
        }
    }
    let total: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 16).sum();
    if total > MAX_HEADERS {
        return refuse("*", "all headers of an event together take at most 96 kB");
    }
    Ok(())
}
