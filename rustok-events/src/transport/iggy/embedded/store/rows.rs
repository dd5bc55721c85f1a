//! What a start and a read make of the rows on the disk. That they are what was written is the checksum's business; a
//! row that makes no sense all the same is refused by name, and nothing is made of it.

use bytes::Bytes;
use iggy::prelude::IggyError;

use super::{
    keys::{MAX_OFFSET, RecordKey, partition_of, reader_of},
    work::read_bounds,
};
use crate::{
    BoxError,
    transport::iggy::embedded::{
        batch::Record,
        partition::{Bounds, Found, Reader},
    },
};

/// What a start finds.
#[derive(Debug, Default)]
pub(in super::super) struct Loaded {
    pub(in super::super) meta: Vec<(Vec<u8>, Vec<u8>)>,
    pub(in super::super) bounds: Vec<(u64, u32, Bounds)>,
    pub(in super::super) offsets: Vec<(u64, u32, Reader, u64)>,
}

impl Loaded {
    pub(in super::super) fn add_meta(&mut self, key: &[u8], value: &[u8]) {
        self.meta.push((key.to_vec(), value.to_vec()));
    }

    /// Adds where a partition begins and ends.
    pub(in super::super) fn add_bounds(
        &mut self,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), BoxError> {
        let partition = (key.len() == 12).then(|| partition_of(key)).flatten();
        let bounds = read_bounds(value)
            .filter(|bounds| bounds.first <= bounds.next && bounds.next <= MAX_OFFSET);
        let (Some((topic, id)), Some(bounds)) = (partition, bounds) else {
            return Err(refused("where a partition begins and ends", key));
        };
        self.bounds.push((topic, id, bounds));
        Ok(())
    }

    /// Adds how far a reader is.
    pub(in super::super) fn add_offset(
        &mut self,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), BoxError> {
        let offset = value.try_into().ok().map(u64::from_le_bytes);
        let offset = offset.filter(|offset| *offset <= MAX_OFFSET);
        let (Some((topic, id, reader)), Some(offset)) = (reader_of(key), offset) else {
            return Err(refused("how far a reader is", key));
        };
        self.offsets.push((topic, id, reader, offset));
        Ok(())
    }
}

fn refused(what: &str, key: &[u8]) -> BoxError {
    format!("row {} does not say {what}", key.escape_ascii()).into()
}

/// Adds what a record's row has from `offset` on; says whether the next row is wanted.
pub(in super::super) fn add_record(
    found: &mut Found,
    key: &[u8],
    frames: Bytes,
    offset: u64,
    count: u32,
    bytes: usize,
) -> Result<bool, IggyError> {
    let key = RecordKey::decode(key)?;
    if key.end() <= offset {
        return Ok(true);
    }
    if key.bytes as usize != frames.len() {
        return Err(IggyError::CannotReadMessage);
    }
    let record = Record { base: key.base, count: key.count, timestamp: key.timestamp, frames };
    Ok(found.add(&record, offset, count, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(first: u64, next: u64) -> Vec<u8> {
        [first, next, 0, 0].iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn rows_without_sense_are_refused_by_name() {
        let mut loaded = Loaded::default();
        loaded.add_bounds(&[0; 12], &bounds(1, 2)).unwrap();
        loaded.add_offset(&[&[0; 12][..], &[1, 0, 0, 0, 1]].concat(), &[0; 8]).unwrap();
        assert_eq!((loaded.bounds.len(), loaded.offsets.len()), (1, 1));
        for (first, next) in [(2, 1), (0, u64::MAX)] {
            let error = loaded.add_bounds(&[b'k'; 12], &bounds(first, next)).unwrap_err();
            assert!(error.to_string().starts_with("row kkkkkkkkkkkk does not say"), "{error}");
        }
        assert!(loaded.add_bounds(b"short", &bounds(0, 0)).is_err());
        assert!(loaded.add_bounds(&[0; 12], b"short").is_err());
        assert!(loaded.add_offset(b"short", &[0; 8]).is_err());
        assert!(loaded.add_offset(&[1; 17], &[0xFF; 8]).is_err());
        assert_eq!((loaded.bounds.len(), loaded.offsets.len()), (1, 1));
    }

    #[test]
    fn a_record_is_as_long_as_its_key_says_and_a_count_that_lies_costs_nothing() {
        let key = |count, bytes| RecordKey { base: 0, count, timestamp: 0, bytes }.encode(1, 0);
        let read = |key: &[u8], offset| {
            let frames = Bytes::from_static(&[0; 64]);
            add_record(&mut Found::default(), key, frames, offset, 9, 1000)
        };
        assert!(read(&key(1, 64), 0).is_ok());
        assert!(read(&key(1, 63), 0).is_err());
        let start = std::time::Instant::now();
        assert!(!read(&key(u32::MAX, 64), u64::from(u32::MAX) - 1).unwrap());
        assert!(start.elapsed() < std::time::Duration::from_secs(1));
    }
}
