//! How rows are named on disk. Numbers are big-endian, so that rows lie in their order.

use iggy::prelude::IggyError;

use crate::transport::iggy::embedded::partition::Reader;

/// No partition gets so far; what is counted on from here does not overflow.
pub(super) const MAX_OFFSET: u64 = u64::MAX >> 1;
const NUMBER: u8 = 1;
const NAME: u8 = 2;
const GROUP: u8 = 3;

pub(in super::super) fn stream_key(id: u32) -> Vec<u8> {
    [b"s".as_slice(), &id.to_be_bytes()].concat()
}

pub(in super::super) fn topic_key(topic: u64) -> Vec<u8> {
    [b"t".as_slice(), &topic.to_be_bytes()].concat()
}

pub(in super::super) fn group_key(topic: u64, id: u32) -> Vec<u8> {
    [b"g".as_slice(), &topic.to_be_bytes(), &id.to_be_bytes()].concat()
}

pub(in super::super) fn token_key(name: &str) -> Vec<u8> {
    [b"p".as_slice(), name.as_bytes()].concat()
}

/// What the rows of a topic's messages, bounds and offsets begin with.
pub(in super::super) fn topic_prefix(topic: u64) -> Vec<u8> {
    topic.to_be_bytes().to_vec()
}

/// What the rows of a partition's messages, bounds and offsets begin with.
pub(in super::super) fn partition_prefix(topic: u64, partition: u32) -> Vec<u8> {
    [topic.to_be_bytes().as_slice(), &partition.to_be_bytes()].concat()
}

pub(in super::super) fn offset_key(topic: u64, partition: u32, reader: &Reader) -> Vec<u8> {
    let mut key = partition_prefix(topic, partition);
    match reader {
        Reader::Number(id) => {
            key.push(NUMBER);
            key.extend_from_slice(&id.to_be_bytes());
        }
        Reader::Name(name) => {
            key.push(NAME);
            key.extend_from_slice(name.as_bytes());
        }
        Reader::Group(id) => {
            key.push(GROUP);
            key.extend_from_slice(&id.to_be_bytes());
        }
    }
    key
}

/// Reads an offset's key back: topic, partition, whose it is.
pub(in super::super) fn reader_of(key: &[u8]) -> Option<(u64, u32, Reader)> {
    let (topic, partition) = partition_of(key)?;
    let rest = key.get(13..)?;
    let reader = match *key.get(12)? {
        NUMBER => Reader::Number(u32::from_be_bytes(rest.try_into().ok()?)),
        NAME => Reader::Name(String::from_utf8(rest.to_vec()).ok()?),
        GROUP => Reader::Group(u32::from_be_bytes(rest.try_into().ok()?)),
        _ => return None,
    };
    Some((topic, partition, reader))
}

/// The topic and partition that a row of messages, bounds or offsets belongs to.
pub(super) fn partition_of(key: &[u8]) -> Option<(u64, u32)> {
    let topic = u64::from_be_bytes(key.get(..8)?.try_into().ok()?);
    let partition = u32::from_be_bytes(key.get(8..12)?.try_into().ok()?);
    Some((topic, partition))
}

/// What a record's key says: enough to seek, to find a time and to trim without reading messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordKey {
    pub(super) base: u64,
    pub(super) count: u32,
    pub(super) timestamp: u64,
    pub(super) bytes: u32,
}

impl RecordKey {
    pub(super) fn encode(&self, topic: u64, partition: u32) -> Vec<u8> {
        let mut key = Vec::with_capacity(36);
        key.extend_from_slice(&topic.to_be_bytes());
        key.extend_from_slice(&partition.to_be_bytes());
        key.extend_from_slice(&self.base.to_be_bytes());
        key.extend_from_slice(&self.count.to_be_bytes());
        key.extend_from_slice(&self.timestamp.to_be_bytes());
        key.extend_from_slice(&self.bytes.to_be_bytes());
        key
    }

    pub(super) fn decode(key: &[u8]) -> Result<Self, IggyError> {
        let corrupt = || IggyError::CannotReadIndexOffset;
        let (base, rest) = key.get(12..).and_then(|k| k.split_first_chunk()).ok_or_else(corrupt)?;
        let (count, rest) = rest.split_first_chunk().ok_or_else(corrupt)?;
        let (timestamp, rest) = rest.split_first_chunk().ok_or_else(corrupt)?;
        let (bytes, _) = rest.split_first_chunk().ok_or_else(corrupt)?;
        let key = Self {
            base: u64::from_be_bytes(*base),
            count: u32::from_be_bytes(*count),
            timestamp: u64::from_be_bytes(*timestamp),
            bytes: u32::from_be_bytes(*bytes),
        };
        if key.base > MAX_OFFSET { Err(corrupt()) } else { Ok(key) }
    }

    pub(super) fn end(&self) -> u64 {
        self.base + u64::from(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_lie_in_order() {
        let key = RecordKey { base: 7, count: 3, timestamp: 99, bytes: 1234 };
        assert_eq!(RecordKey::decode(&key.encode(1, 2)).unwrap(), key);
        assert!(key.encode(1, 2) < RecordKey { base: 256, ..key }.encode(1, 2));
        assert!(key.encode(1, 2).starts_with(&partition_prefix(1, 2)));
        assert!(RecordKey::decode(b"short").is_err());
        let absurd = RecordKey { base: u64::MAX, ..key };
        assert!(RecordKey::decode(&absurd.encode(1, 2)).is_err());
        for reader in [Reader::Number(5), Reader::Name("a".to_owned()), Reader::Group(5)] {
            assert_eq!(reader_of(&offset_key(1, 2, &reader)), Some((1, 2, reader)));
        }
        assert_eq!(reader_of(b"\x01"), None);
    }
}
