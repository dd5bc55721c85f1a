//! The body of a send: checked when it comes, stamped when it is appended, cut into records to be stored.

use bytes::{Buf, Bytes, BytesMut};
use iggy::prelude::IggyError;
use iggy_binary_protocol::{
    WireDecode,
    message_layout::{
        MSG_ID_OFFSET, MSG_OFFSET_OFFSET, MSG_PAYLOAD_LEN_OFFSET, MSG_TIMESTAMP_OFFSET,
        MSG_USER_HEADERS_LEN_OFFSET, WIRE_MESSAGE_HEADER_SIZE, WIRE_MESSAGE_INDEX_SIZE,
    },
    primitives::user_headers::validate_user_headers,
    requests::messages::SendMessagesHeader,
};
use twox_hash::XxHash3_64;

/// The protocol's bound on one payload.
const MAX_PAYLOAD: usize = 64_000_000;
/// The protocol's bound on one message's headers.
const MAX_HEADERS: usize = 100_000;
/// A record is closed once it has grown to this: small enough to be read for a few messages, large enough to be few.
const RECORD_BYTES: usize = 64 * 1024;

/// A run of messages with ascending offsets, as they go over the wire.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// The first message's offset.
    pub(super) base: u64,
    /// How many messages there are; their offsets have no gaps.
    pub(super) count: u32,
    /// When they were appended, in microseconds since 1970. Never falls from record to record.
    pub(super) timestamp: u64,
    /// The messages, each with its header of 64 bytes.
    pub(super) frames: Bytes,
}

impl Record {
    /// The offset after the last message.
    pub(super) fn end(&self) -> u64 {
        self.base + u64::from(self.count)
    }

    /// The messages from `offset` on: at most `count`, and no more than `bytes` unless the first alone is longer.
    pub(super) fn cut(&self, offset: u64, count: u32, bytes: usize) -> (Bytes, u32) {
        let skip = offset.saturating_sub(self.base);
        if skip == 0 && self.count <= count && self.frames.len() <= bytes {
            return (self.frames.clone(), self.count);
        }
        let mut start = 0;
        for _ in 0..skip {
            let Some(len) = frame_len(&self.frames, start) else {
                start = self.frames.len();
                break;
            };
            start += len;
        }
        let (mut end, mut taken) = (start, 0);
        while taken < count {
            let Some(len) = frame_len(&self.frames, end) else { break };
            if taken > 0 && end + len - start > bytes {
                break;
            }
            end += len;
            taken += 1;
        }
        (self.frames.slice(start..end), taken)
    }
}

/// Messages that were sent and checked, and have no offsets yet.
#[derive(Debug)]
pub(super) struct Batch {
    frames: BytesMut,
    count: u32,
}

impl Batch {
    /// Takes the body of a send apart: where it goes, and its messages.
    ///
    /// ```text
    /// [metadata length:4][stream][topic][partitioning][count:4] [index:16]* ([header:64][payload][headers])*
    /// ```
    ///
    /// The messages stay where they are in the buffer.
    pub(super) fn decode(mut body: BytesMut) -> Result<(SendMessagesHeader, Self), IggyError> {
        let length = read_u32(&body, 0).ok_or(IggyError::InvalidCommand)? as usize;
        let metadata = length
            .checked_add(4)
            .and_then(|end| body.get(4..end))
            .ok_or(IggyError::InvalidCommand)?;
        let (header, read) =
            SendMessagesHeader::decode(metadata).map_err(|_| IggyError::InvalidCommand)?;
        if read != length {
            return Err(IggyError::InvalidCommand);
        }
        if header.messages_count == 0 {
            return Err(IggyError::InvalidMessagesCount);
        }
        body.advance(4 + length);
        let indexes = (header.messages_count as usize)
            .checked_mul(WIRE_MESSAGE_INDEX_SIZE)
            .filter(|size| *size <= body.len())
            .ok_or(IggyError::InvalidCommand)?;
        body.advance(indexes);

        let mut end = 0;
        for _ in 0..header.messages_count {
            end += check(&body[end..])?;
        }
        if end != body.len() {
            return Err(IggyError::InvalidCommand);
        }
        Ok((header.clone(), Self { frames: body, count: header.messages_count }))
    }

    /// How many bytes its messages take.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Gives the messages their offsets and the time, and cuts them into records.
    pub(super) fn stamp(mut self, base: u64, timestamp: u64) -> Vec<Record> {
        let mut cuts = Vec::new();
        let (mut start, mut record, mut count, mut first) = (0, 0, 0, base);
        for offset in base..base + u64::from(self.count) {
            let len = frame_len(&self.frames, start).unwrap_or(self.frames.len() - start);
            let frame = &mut self.frames[start..start + len];
            frame[MSG_OFFSET_OFFSET..MSG_OFFSET_OFFSET + 8].copy_from_slice(&offset.to_le_bytes());
            frame[MSG_TIMESTAMP_OFFSET..MSG_TIMESTAMP_OFFSET + 8]
                .copy_from_slice(&timestamp.to_le_bytes());
            let id = &mut frame[MSG_ID_OFFSET..MSG_ID_OFFSET + 16];
            if id.iter().all(|byte| *byte == 0) {
                id.copy_from_slice(&uuid::Uuid::now_v7().as_u128().to_le_bytes());
            }
            let checksum = XxHash3_64::oneshot(&frame[8..]);
            frame[..8].copy_from_slice(&checksum.to_le_bytes());
            start += len;
            count += 1;
            if start - record >= RECORD_BYTES || start == self.frames.len() {
                cuts.push((first, count, start - record));
                (record, count, first) = (start, 0, offset + 1);
            }
        }
        let mut frames = self.frames.freeze();
        cuts.into_iter()
            .map(|(base, count, len)| Record {
                base,
                count,
                timestamp,
                frames: frames.split_to(len),
            })
            .collect()
    }
}

/// Checks the message at the start of the bytes, and says how long it is.
fn check(frames: &[u8]) -> Result<usize, IggyError> {
    let headers = read_u32(frames, MSG_USER_HEADERS_LEN_OFFSET)
        .ok_or(IggyError::InvalidMessagePayloadLength)? as usize;
    let payload = read_u32(frames, MSG_PAYLOAD_LEN_OFFSET)
        .ok_or(IggyError::InvalidMessagePayloadLength)? as usize;
    if payload == 0 {
        return Err(IggyError::EmptyMessagePayload);
    }
    if payload > MAX_PAYLOAD {
        return Err(IggyError::TooBigMessagePayload);
    }
    if headers > MAX_HEADERS {
        return Err(IggyError::TooBigUserHeaders);
    }
    let start = WIRE_MESSAGE_HEADER_SIZE + payload;
    let headers =
        frames.get(start..start + headers).ok_or(IggyError::InvalidMessagePayloadLength)?;
    validate_user_headers(headers).map_err(|_| IggyError::CannotReadHeadersPayload)?;
    Ok(start + headers.len())
}

/// How long the message at `start` is, by its own header; `None` if it is not all there.
fn frame_len(frames: &[u8], start: usize) -> Option<usize> {
    let headers = read_u32(frames, start + MSG_USER_HEADERS_LEN_OFFSET)? as usize;
    let payload = read_u32(frames, start + MSG_PAYLOAD_LEN_OFFSET)? as usize;
    let len = WIRE_MESSAGE_HEADER_SIZE + headers + payload;
    (start + len <= frames.len()).then_some(len)
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use iggy_binary_protocol::{
        WireIdentifier,
        primitives::partitioning::WirePartitioning,
        requests::messages::{RawMessage, SendMessagesEncoder},
    };
    use proptest::prelude::*;

    use super::*;

    fn encoded(payloads: &[Vec<u8>]) -> BytesMut {
        let messages: Vec<RawMessage<'_>> = payloads
            .iter()
            .map(|payload| RawMessage { id: 0, origin_timestamp: 1, headers: None, payload })
            .collect();
        let (stream, topic) = (WireIdentifier::numeric(1), WireIdentifier::numeric(2));
        let mut body = BytesMut::new();
        let place = WirePartitioning::PartitionId(3);
        SendMessagesEncoder::encode(&mut body, &stream, &topic, &place, &messages);
        body
    }

    /// The offsets of messages on the wire, each of which is whole and sums up.
    fn offsets(frames: &[u8]) -> Vec<u64> {
        let (mut at, mut offsets) = (0, Vec::new());
        while let Some(len) = frame_len(frames, at) {
            let frame = &frames[at..at + len];
            let number = |at: usize| u64::from_le_bytes(frame[at..at + 8].try_into().unwrap());
            assert_eq!(number(0), XxHash3_64::oneshot(&frame[8..]));
            assert!(frame[MSG_ID_OFFSET..MSG_ID_OFFSET + 16].iter().any(|byte| *byte != 0));
            offsets.push(number(MSG_OFFSET_OFFSET));
            at += len;
        }
        assert_eq!(at, frames.len());
        offsets
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_decoded_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let length = body.len();
            if let Ok((_, batch)) = Batch::decode(body.as_slice().into()) {
                prop_assert!(batch.len() < length);
            }
        }

        #[test]
        fn a_damaged_send_is_decoded_or_refused(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 1..6),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<proptest::sample::Index>(),
        ) {
            let whole = encoded(&payloads);
            let mut damaged = whole.clone();
            let at = at.index(damaged.len());
            damaged[at] = byte;
            if let Ok((header, batch)) = Batch::decode(damaged) {
                prop_assert!(batch.len() < whole.len());
                let records = batch.stamp(0, 1);
                let count: usize = records.iter().map(|record| offsets(&record.frames).len()).sum();
                prop_assert_eq!(count, header.messages_count as usize);
            }
            let cut = cut.index(whole.len());
            prop_assert!(Batch::decode(whole[..cut].into()).is_err());
        }

        #[test]
        fn what_is_cut_from_records_is_what_was_asked_for(
            sizes in proptest::collection::vec(1_usize..40_000, 1..30),
            base in 0_u64..1000,
            from in any::<proptest::sample::Index>(),
            count in 1_u32..40,
            bytes in 1_usize..200_000,
        ) {
            let payloads: Vec<Vec<u8>> = sizes.iter().map(|size| vec![7; *size]).collect();
            let (_, batch) = Batch::decode(encoded(&payloads)).unwrap();
            let records = batch.stamp(base, 5);
            let mut next = base;
            for record in &records {
                prop_assert_eq!(record.base, next);
                prop_assert_eq!(offsets(&record.frames), (next..record.end()).collect::<Vec<_>>());
                next = record.end();
            }
            prop_assert_eq!(next, base + sizes.len() as u64);

            let record = &records[from.index(records.len())];
            let from = record.base + from.index(record.count as usize) as u64;
            let (part, taken) = record.cut(from, count, bytes);
            let found = offsets(&part);
            prop_assert_eq!(found.len(), taken as usize);
            prop_assert!(taken >= 1 && taken <= count);
            prop_assert!(part.len() <= bytes || taken == 1);
            prop_assert_eq!(found, (from..from + u64::from(taken)).collect::<Vec<_>>());
        }
    }
}
