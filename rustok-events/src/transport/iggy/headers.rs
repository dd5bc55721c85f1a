//! Headers on the wire: `kind: u8, length: u32, bytes`, a name and its value in turn.
//!
//! Written and read without the SDK's maps in between, which take longer than everything else that is done with a
//! message.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{
    BoxError,
    envelope::{WireHeaders, header},
};

/// The names of the envelope's headers.
const OWN: [&str; 13] = [
    header::ACTOR_ID,
    header::CAUSATION_ID,
    header::CORRELATION_ID,
    header::DATA_VERSION,
    header::ID,
    header::PARTITION_KEY,
    header::SOURCE,
    header::SPEC_VERSION,
    header::TENANT_ID,
    header::TIME,
    header::TYPE,
    header::CONTENT_TYPE,
    header::TRACE_PARENT,
];
/// The kinds of names and values that are written and read here: bytes and text.
const RAW: u8 = 1;
const TEXT: u8 = 2;

/// Headers as this crate writes them: names are text, and values are where they can be, so that clients in other
/// languages read them without knowing this crate.
///
/// # Errors
/// A name or a value that is empty or longer than 255 bytes, by the header's name.
pub(super) fn encode(headers: &WireHeaders) -> Result<Bytes, BoxError> {
    let length = headers.iter().map(|(name, value)| 10 + name.len() + value.len()).sum();
    let mut encoded = Vec::with_capacity(length);
    for (name, value) in headers.iter() {
        let wrong = |what| format!("header `{name}`: {what} must have 1 to 255 bytes");
        let kind = if std::str::from_utf8(value).is_ok() { TEXT } else { RAW };
        put(&mut encoded, TEXT, name.as_bytes()).ok_or_else(|| wrong("its name"))?;
        put(&mut encoded, kind, value).ok_or_else(|| wrong("its value"))?;
    }
    Ok(Bytes::from(encoded))
}

fn put(encoded: &mut Vec<u8>, kind: u8, bytes: &[u8]) -> Option<()> {
    let length = u8::try_from(bytes.len()).ok().filter(|length| *length > 0)?;
    encoded.push(kind);
    encoded.extend_from_slice(&u32::from(length).to_le_bytes());
    encoded.extend_from_slice(bytes);
    Some(())
}

/// Headers whose names are text and whose values are text or bytes, as this crate writes them: read straight off the
/// wire, which takes half of what building the SDK's map and ours from it does. `None` for anything else.
pub(super) fn plain(mut raw: &[u8]) -> Option<WireHeaders> {
    if raw.is_empty() {
        return Some(WireHeaders::new());
    }
    let size = raw.len();
    let pairs = std::iter::from_fn(|| (!raw.is_empty()).then(|| pair(&mut raw)));
    let mut headers = WireHeaders::with_capacity(16, size);
    let mut readable = true;
    headers.extend(pairs.map_while(|pair| {
        readable = pair.is_some();
        pair
    }));
    readable.then_some(headers)
}

/// A name and its value.
fn pair<'r>(raw: &mut &'r [u8]) -> Option<(Cow<'static, str>, &'r [u8])> {
    let (TEXT, name) = field(raw)? else { return None };
    let (kind @ (RAW | TEXT), value) = field(raw)? else { return None };
    let name = std::str::from_utf8(name).ok()?;
    if kind == TEXT {
        std::str::from_utf8(value).ok()?;
    }
    Some((own_or_copied(name), value))
}

/// A name that was read; one of the envelope's own is not copied.
fn own_or_copied(name: &str) -> Cow<'static, str> {
    match OWN.iter().find(|own| **own == name) {
        Some(own) => Cow::Borrowed(own),
        None => Cow::Owned(name.to_owned()),
    }
}

/// `kind: u8, length: u32, bytes`, as the wire has names and values alike. Neither is ever empty.
fn field<'r>(raw: &mut &'r [u8]) -> Option<(u8, &'r [u8])> {
    let (kind, rest) = raw.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    *raw = rest;
    (1..=255).contains(&length).then_some((*kind, bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use iggy::prelude::{HeaderKey, HeaderValue, IggyMessage};

    use super::*;

    #[test]
    fn what_is_written_is_what_the_sdk_writes_and_is_read_back() {
        let headers = WireHeaders::from([
            ("ce-id", b"7".as_slice()),
            ("ce-partitionkey", &[0xFF, 0]),
            ("a", &[b'x'; 255]),
        ]);
        let key = |name: &str| HeaderKey::try_from(name).unwrap();
        let map = BTreeMap::from([
            (key("ce-id"), HeaderValue::try_from("7").unwrap()),
            (key("ce-partitionkey"), HeaderValue::try_from(vec![0xFF, 0]).unwrap()),
            (key("a"), HeaderValue::try_from("x".repeat(255).as_str()).unwrap()),
        ]);
        let sdk = IggyMessage::builder().payload(Bytes::from_static(b"p")).user_headers(map);
        let encoded = encode(&headers).unwrap();
        assert_eq!(sdk.build().unwrap().user_headers.unwrap(), encoded);
        assert_eq!(plain(&encoded), Some(headers));
    }

    #[test]
    fn names_of_the_envelope_are_not_copied() {
        assert!(matches!(own_or_copied("ce-id"), Cow::Borrowed("ce-id")));
        assert!(matches!(own_or_copied("ce-other"), Cow::Owned(_)));
    }

    #[test]
    fn names_and_values_have_1_to_255_bytes() {
        for (name, value) in
            [(0, 1), (256, 1), (1, 0), (1, 256)].map(|(n, v)| ("n".repeat(n), vec![b'v'; v]))
        {
            let error = encode(&WireHeaders::from([(name.clone(), value)])).unwrap_err();
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
        assert!(encode(&WireHeaders::new()).unwrap().is_empty());
    }
}
