//! A message as it came, read as far as it can be read.

use crate::{
    Codec, EventId,
    codec::EncodedPayload,
    envelope::{EventMeta, Texts},
    handler::{Delivered, Failure},
    held,
    transport::IncomingMessage,
};

/// A message and what could be made of it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) raw: IncomingMessage,
    pub(super) content: Result<Delivered, Failure>,
}

impl Message {
    pub(super) fn read(raw: IncomingMessage) -> Self {
        Self::read_with(raw, &mut Texts::default())
    }

    /// The messages of one delivery, which have texts in common.
    pub(super) fn read_all(raw: Vec<IncomingMessage>) -> Vec<Self> {
        let mut texts = Texts::default();
        raw.into_iter().map(|raw| Self::read_with(raw, &mut texts)).collect()
    }

    fn read_with(raw: IncomingMessage, texts: &mut Texts) -> Self {
        let content = read(&raw, texts);
        Self { raw, content }
    }

    /// The envelope; `None` for a message that is no event.
    pub(super) fn meta(&self) -> Option<&EventMeta> {
        Some(&self.content.as_ref().ok()?.meta)
    }

    /// The id that the inbox knows it by.
    pub(super) fn id(&self) -> EventId {
        held::message_id(&self.raw, self.meta())
    }

    /// The event type; `None` for a message that is no event.
    pub(super) fn name(&self) -> Option<&str> {
        Some(self.meta()?.name())
    }
}

fn read(raw: &IncomingMessage, texts: &mut Texts) -> Result<Delivered, Failure> {
    let meta = EventMeta::from_wire_with(&raw.headers, texts)?;
    let codec = Codec::from_content_type(&meta.content_type).ok_or_else(|| {
        let error = format!("no codec for content type `{}`", meta.content_type);
        Failure::unreadable("unknown_content_type", error)
    })?;
    let payload = EncodedPayload { codec, bytes: raw.payload.clone() };
    Ok(Delivered { meta, payload })
}
