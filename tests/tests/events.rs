//! Whatever is declared comes back as it was sent, and whatever arrives is an event or an error with a name.

use bytes::Bytes;
use proptest::prelude::*;
use rustok_events::{
    Codec, DecodeError, EventMeta, codec::EncodedPayload, envelope::WireHeaders, prelude::*,
    testing::HandlerCall,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, PartitionKey)]
struct CustomerId(String);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "shop", topic = "orders", partition_key = customer, name = "order.placed")]
struct PlacedV1 {
    customer: CustomerId,
    titles: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(
    stream = "shop",
    topic = "orders",
    partition_key = customer,
    name = "order.placed",
    version = 2,
    previous = PlacedV1,
    validate = Self::check
)]
struct Placed {
    id: Uuid,
    customer: CustomerId,
    titles: Vec<String>,
    cents: i64,
    weight: Option<u32>,
}

impl Placed {
    fn check(&self) -> Result<(), &'static str> {
        if self.cents < 0 { Err("a sum is not negative") } else { Ok(()) }
    }
}

impl From<PlacedV1> for Placed {
    fn from(old: PlacedV1) -> Self {
        let PlacedV1 { customer, titles } = old;
        Self { id: Uuid::nil(), customer, titles, cents: 0, weight: None }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DomainEvent)]
#[domain_event(stream = "shop", topic = "orders", name = "order")]
enum Order {
    #[domain_event(partition_key = 0)]
    Paid(Uuid, i64),
    #[domain_event(partition_key = customer.0)]
    Closed { customer: CustomerId, reason: Option<String> },
    #[domain_event(partition_key = tenant)]
    Noted,
}

fn customer() -> impl Strategy<Value = CustomerId> {
    "[^\\p{C}]{1,40}".prop_map(CustomerId)
}

fn placed() -> impl Strategy<Value = Placed> {
    (any::<u128>(), customer(), any::<Vec<String>>(), 0..i64::MAX, any::<Option<u32>>()).prop_map(
        |(id, customer, titles, cents, weight)| Placed {
            id: Uuid::from_u128(id),
            customer,
            titles,
            cents,
            weight,
        },
    )
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        (any::<u128>(), any::<i64>())
            .prop_map(|(id, cents)| Order::Paid(Uuid::from_u128(id), cents)),
        (customer(), any::<Option<String>>())
            .prop_map(|(customer, reason)| Order::Closed { customer, reason }),
        Just(Order::Noted),
    ]
}

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::Json), Just(Codec::MessagePack)]
}

/// From an event through its envelope and its bytes, and back.
fn there_and_back<E: DomainEvent + PartialEq + std::fmt::Debug>(
    event: &E,
    codec: Codec,
) -> Result<(), TestCaseError> {
    let call = HandlerCall::of(event, Uuid::from_u128(1)).expect("it could be published");
    let envelope = EventMeta::from_wire(&call.envelope().to_wire()).expect("it can be read");
    prop_assert_eq!(&envelope, call.envelope());
    let bytes = Bytes::from(codec.encode(event).expect("it can be encoded"));
    let payload = EncodedPayload { codec, bytes };
    let back = E::decode_event(envelope.name(), envelope.version(), &payload);
    prop_assert_eq!(&back.expect("it can be decoded"), event);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_struct_comes_back(event in placed(), codec in codec()) {
        there_and_back(&event, codec)?;
    }

    #[test]
    fn a_variant_comes_back(event in order(), codec in codec()) {
        there_and_back(&event, codec)?;
    }

    #[test]
    fn an_older_version_becomes_the_newest(customer in customer(), titles: Vec<String>, codec in codec()) {
        let old = PlacedV1 { customer, titles };
        let bytes = Bytes::from(codec.encode(&old).expect("it can be encoded"));
        let new = Placed::decode_event("order.placed", 1, &EncodedPayload { codec, bytes });
        prop_assert_eq!(new.expect("it can be decoded"), Placed::from(old));
    }

    #[test]
    fn any_bytes_are_an_event_or_a_named_error(
        bytes: Vec<u8>,
        name in prop_oneof![
            Just("order.placed".to_owned()), Just("order.paid".to_owned()), Just("order.closed".to_owned()), ".*"
        ],
        version in prop_oneof![0..4_u32, any::<u32>()],
        codec in codec(),
    ) {
        let payload = EncodedPayload { codec, bytes: Bytes::from(bytes) };
        let codes = [
            Placed::decode_event(&name, version, &payload).err(),
            Order::decode_event(&name, version, &payload).err(),
        ].map(|error| error.as_ref().map(DecodeError::code));
        for code in codes.into_iter().flatten() {
            let known = ["unknown_event", "unknown_version", "malformed_payload", "invalid_event"];
            prop_assert!(known.contains(&code), "{code}");
        }
    }

    /// Bytes that are nearly right go further than bytes at random.
    #[test]
    fn damaged_bytes_are_an_event_or_a_named_error(
        event in placed(), codec in codec(), at: prop::sample::Index, byte: u8, version in 1..3_u32,
    ) {
        let mut bytes = codec.encode(&event).expect("it can be encoded");
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let payload = EncodedPayload { codec, bytes: Bytes::from(bytes) };
        if let Err(error) = Placed::decode_event("order.placed", version, &payload) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_headers_are_an_envelope_or_a_named_error(
        event in placed(), name in "(ce-[a-z]{2,10}|content-type|.*)", value: Vec<u8>, removed: prop::sample::Index,
    ) {
        let call = HandlerCall::of(&event, Uuid::from_u128(1)).expect("it could be published");
        let mut wire: WireHeaders = call.envelope().to_wire();
        let name_of_one = removed.get(&wire.iter().collect::<Vec<_>>()).0.to_owned();
        wire.insert(name, value.clone());
        let _ = EventMeta::from_wire(&wire).map_err(|error| error.to_string());
        wire.insert(name_of_one.clone(), value);
        let _ = EventMeta::from_wire(&wire).map_err(|error| error.to_string());
        wire.remove(&name_of_one);
        let _ = EventMeta::from_wire(&wire).map_err(|error| error.to_string());
    }
}
