//! Any headers and any bytes are an event or an error with a name.
//!
//! Input: flags, version, then headers `[which][length][value]` until a `which` of 255, then the payload.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rustok_events::{
    BoxError, Codec, DecodeError, EventMeta, codec::EncodedPayload, envelope::{WireHeaders, header},
    prelude::*, testing::fuzz::read_headers,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, PartialEq, Serialize, Deserialize, PartitionKey)]
struct CustomerId(String);

#[derive(Debug, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "s", topic = "t", name = "order.placed", partition_key = customer)]
struct PlacedV1 {
    customer: CustomerId,
}

#[derive(Debug, Serialize, Deserialize, DomainEvent)]
#[domain_event(
    stream = "s", topic = "t", name = "order.placed", partition_key = customer, version = 2, previous = PlacedV1,
    validate = Self::check
)]
struct PlacedV2 {
    customer: CustomerId,
    cents: i64,
}

#[derive(Debug, Serialize, Deserialize, DomainEvent)]
#[domain_event(
    stream = "s", topic = "t", name = "order.placed", partition_key = key, version = 3, previous = PlacedV2
)]
struct Placed {
    key: String,
    cents: i64,
    weight: Option<f64>,
    lines: Vec<(Uuid, u32)>,
}

impl PlacedV2 {
    fn check(&self) -> Result<(), &'static str> {
        if self.cents < 0 { Err("a sum is not negative") } else { Ok(()) }
    }
}

impl From<PlacedV1> for PlacedV2 {
    fn from(old: PlacedV1) -> Self {
        Self { customer: old.customer, cents: 0 }
    }
}

impl From<PlacedV2> for Placed {
    fn from(old: PlacedV2) -> Self {
        Self { key: old.customer.0, cents: old.cents, weight: None, lines: Vec::new() }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "s", topic = "t", name = "order")]
enum Order {
    #[domain_event(partition_key = 0)]
    Paid(Uuid, i64),
    #[domain_event(partition_key = customer.0)]
    Closed { customer: CustomerId, reason: Option<String> },
    #[domain_event(partition_key = tenant)]
    Noted,
}

const HEADERS: [&str; 12] = [
    header::ID,
    header::TYPE,
    header::SOURCE,
    header::TIME,
    header::DATA_VERSION,
    header::TENANT_ID,
    header::ACTOR_ID,
    header::CORRELATION_ID,
    header::CAUSATION_ID,
    header::PARTITION_KEY,
    header::CONTENT_TYPE,
    "shop",
];
const NAMES: [&str; 4] = ["order.placed", "order.paid", "order.closed", "order.noted"];
const VALUE: &str = "0190a1b2-c3d4-7000-8000-000000000001";

fuzz_target!(|input: &[u8]| {
    let Some((head, mut rest)) = input.split_first_chunk::<2>() else { return };
    let [flags, version] = *head;
    let mut wire = good_headers(flags, version);
    while let Some((which, after)) = rest.split_first() {
        if *which == u8::MAX {
            rest = after;
            break;
        }
        let Some((length, after)) = after.split_first() else { return };
        let (value, after) = after.split_at((*length as usize).min(after.len()));
        if let Some(name) = HEADERS.get(*which as usize) {
            wire.insert(*name, value);
        } else if let Ok(name) = std::str::from_utf8(value) {
            wire.remove(name);
        }
        rest = after;
    }
    // The payload, as the broker's own encoding of headers too.
    let _headers = read_headers(rest);
    if let Err(error) = decode(&wire, rest) {
        assert!(!error.to_string().is_empty());
    }
});

/// The headers of an event, so that what follows changes some and reaches the rest.
fn good_headers(flags: u8, version: u8) -> WireHeaders {
    let msgpack = flags & 4 != 0;
    let pairs = [
        (header::ID, VALUE),
        (header::TYPE, NAMES[usize::from(flags & 3)]),
        (header::SOURCE, "/s/t"),
        (header::TIME, "2026-01-02T03:04:05.000006Z"),
        (header::DATA_VERSION, &version.to_string()),
        (header::TENANT_ID, VALUE),
        (header::CONTENT_TYPE, if msgpack { "application/msgpack" } else { "application/json" }),
    ];
    WireHeaders::from(pairs)
}

fn decode(wire: &WireHeaders, payload: &[u8]) -> Result<(), BoxError> {
    let meta = EventMeta::from_wire(wire)?;
    // What was read is what is written, and reads as the same.
    assert_eq!(EventMeta::from_wire(&meta.to_wire())?, meta);
    let content_type = std::str::from_utf8(wire.get(header::CONTENT_TYPE).ok_or("no content type")?)?;
    let codec = Codec::from_content_type(content_type).ok_or("no codec")?;
    let payload = EncodedPayload { codec, bytes: Bytes::copy_from_slice(payload) };
    known(Placed::decode_event(meta.name(), meta.version(), &payload))
        .and(known(Order::decode_event(meta.name(), meta.version(), &payload)))?;
    Ok(())
}

fn known<E: DomainEvent>(decoded: Result<E, DecodeError>) -> Result<(), DecodeError> {
    const CODES: [&str; 4] =
        ["unknown_event", "unknown_version", "malformed_payload", "invalid_event"];
    match decoded {
        Ok(event) => {
            event.partition_key();
            Ok(())
        }
        Err(error) => {
            assert!(CODES.contains(&error.code()), "{error}");
            Err(error)
        }
    }
}
