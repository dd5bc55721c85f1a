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
