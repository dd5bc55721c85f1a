//! The event that is measured: 512 bytes of JSON under one of 10,000 keys.

use rustok_events::{DomainEvent, EventDescriptor, Key};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How many keys there are.
pub(crate) const KEYS: u64 = 10_000;
/// The length of a payload in bytes.
pub(crate) const PAYLOAD: usize = 512;
/// The tenant of every event.
pub(crate) const TENANT: Uuid = Uuid::from_u128(1);
/// How many partitions the topic has.
pub(crate) const PARTITIONS: u32 = 16;

/// An event. Its number is its identity and, within its key, its order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Comes first, so that a sink finds it without a parser.
    number: u64,
    key: String,
    body: String,
}

const SAMPLE: EventDescriptor =
    EventDescriptor::new("sample", 1, "benches", "samples").partitions(PARTITIONS);

impl DomainEvent for Sample {
    const STREAM: &'static str = "benches";
    const TOPIC: &'static str = "samples";
    const DESCRIPTORS: &'static [EventDescriptor] = &[SAMPLE];

    fn descriptor(&self) -> &'static EventDescriptor {
        &Self::DESCRIPTORS[0]
    }

    fn partition_key(&self) -> Key<'_> {
        Key::of(&self.key)
    }
}

impl Sample {
    /// The event of a number. Its key is the number's rest, so numbers that differ by a multiple of 16 may be
    /// published by one client and those that do not by another without breaking a key's order.
    pub(crate) fn new(number: u64) -> Self {
        let key = format!("customer-{:05}", number % KEYS);
        let frame = r#"{"number":,"key":"","body":""}"#.len() + key.len();
        let digits = number.checked_ilog10().map_or(1, |digits| digits as usize + 1);
        let body = "x".repeat(PAYLOAD - frame - digits);
        Self { number, key, body }
    }

    /// The number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// A part of 64 for the key, as good as any.
    pub(crate) fn part(&self) -> i16 {
        (self.number % KEYS % 64) as i16
    }

    /// The bytes that are stored.
    pub(crate) fn payload(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }
}

/// The number in a payload.
pub(crate) fn number(payload: &[u8]) -> u64 {
    payload
        .iter()
        .skip(br#"{"number":"#.len())
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_their_length_and_their_number() {
        for wanted in [0, 9, 10, 123_456] {
            let payload = Sample::new(wanted).payload().unwrap();
            assert_eq!((payload.len(), number(&payload)), (PAYLOAD, wanted));
        }
    }
}
