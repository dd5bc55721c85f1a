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
            start += frame_len(&self.frames, start).unwrap_or(self.frames.len() - start);
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
