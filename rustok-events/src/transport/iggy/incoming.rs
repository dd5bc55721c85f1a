//! A message of the SDK's as the seam has it.

use iggy::prelude::IggyMessage;

use super::headers::plain;
use crate::{envelope::WireHeaders, transport::IncomingMessage};

/// Reads a message. Headers that cannot be read are left out: the message is then no event, and is kept as such.
pub(super) fn read(partition: u32, message: IggyMessage) -> IncomingMessage {
    let headers = match message.user_headers.as_deref() {
        None => WireHeaders::new(),
        Some(raw) => plain(raw).unwrap_or_else(|| of_any_kind(partition, &message)),
    };
    IncomingMessage { partition, offset: message.header.offset, headers, payload: message.payload }
}

fn of_any_kind(partition: u32, message: &IggyMessage) -> WireHeaders {
    match message.user_headers_map() {
        Ok(headers) => headers
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name.to_string_value(), value.as_bytes().to_vec()))
            .collect(),
        Err(error) => {
            tracing::warn!(partition, offset = message.header.offset, %error, "headers cannot be read");
            WireHeaders::new()
        }
    }
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, str::FromStr};

    use bytes::Bytes;
    use iggy::prelude::{HeaderKey, HeaderValue};

    use super::*;

    fn message(headers: BTreeMap<HeaderKey, HeaderValue>) -> IggyMessage {
        IggyMessage::builder()
            .payload(Bytes::from_static(b"x"))
            .user_headers(headers)
            .build()
            .unwrap()
    }

    fn key(name: &str) -> HeaderKey {
        HeaderKey::try_from(name).unwrap()
    }

    #[test]
    fn text_and_bytes_are_read_as_the_sdk_reads_them() {
        let message = message(BTreeMap::from([
            (key("b"), HeaderValue::try_from(vec![0, 159, 146, 150]).unwrap()),
            (key("a"), HeaderValue::from_str("text").unwrap()),
        ]));
        let plain = plain(message.user_headers.as_deref().unwrap()).expect("nothing else is in it");
        assert_eq!(plain, of_any_kind(0, &message));
        assert_eq!(plain.get("a"), Some(b"text".as_slice()));
    }

    #[test]
    fn other_kinds_are_left_to_the_sdk() {
        let message = message(BTreeMap::from([(key("n"), HeaderValue::from(7_u32))]));
        assert_eq!(plain(message.user_headers.as_deref().unwrap()), None);
        assert_eq!(read(0, message).headers.get("n"), Some(7_u32.to_le_bytes().as_slice()));
    }

    #[test]
    fn what_is_cut_short_is_no_header() {
        let message = message(BTreeMap::from([(key("a"), HeaderValue::from_str("text").unwrap())]));
        let raw = message.user_headers.unwrap();
        for length in 1..raw.len() {
            assert_eq!(plain(&raw[..length]), None);
        }
        assert_eq!(plain(&[]), Some(WireHeaders::new()));
    }
}
