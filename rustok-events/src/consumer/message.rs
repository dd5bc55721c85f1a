//! A message as it came, read as far as it can be read.

use crate::{
    Codec,
    codec::EncodedPayload,
    envelope::EventMeta,
    handler::{Delivered, Failure},
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
        let content = read(&raw);
        Self { raw, content }
    }

    /// The event type; `None` for a message that is no event.
    pub(super) fn name(&self) -> Option<&str> {
        Some(self.content.as_ref().ok()?.meta.name())
    }
}

fn read(raw: &IncomingMessage) -> Result<Delivered, Failure> {
    let meta = EventMeta::from_wire(&raw.headers).map_err(|error| Failure {
        code: error.code(),
        error: error.to_string(),
        terminal: true,
    })?;
    let codec = Codec::from_content_type(&meta.content_type).ok_or_else(|| Failure {
        code: "unknown_content_type",
        error: format!("no codec for content type `{}`", meta.content_type),
        terminal: true,
    })?;
    let payload = EncodedPayload { codec, bytes: raw.payload.clone() };
    Ok(Delivered { meta, payload })
}
