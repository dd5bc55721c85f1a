//! A message of the SDK's as the seam has it.

use iggy::prelude::IggyMessage;

use crate::{envelope::WireHeaders, transport::IncomingMessage};

/// Reads a message. Headers that cannot be read are left out: the message is then no event, and is kept as such.
pub(super) fn read(partition: u32, message: IggyMessage) -> IncomingMessage {
    let headers = match message.user_headers_map() {
        Ok(headers) => headers
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name.to_string_value(), value.as_bytes().to_vec()))
            .collect(),
        Err(error) => {
            tracing::warn!(partition, offset = message.header.offset, %error, "headers cannot be read");
            WireHeaders::new()
        }
    };
    IncomingMessage { partition, offset: message.header.offset, headers, payload: message.payload }
}

/// The headers that a message has whose encoded headers are these bytes: for the fuzzer.
#[cfg(feature = "testing")]
pub fn read_headers(encoded: &[u8]) -> WireHeaders {
    let message = IggyMessage {
        header: iggy::prelude::IggyMessageHeader::default(),
        payload: bytes::Bytes::new(),
        user_headers: Some(bytes::Bytes::copy_from_slice(encoded)),
    };
    read(0, message).headers
}
