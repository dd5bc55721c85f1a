//! What is sent: the same messages to both sides, in the form that the relay hands to the transport.

use anyhow::Result;
use rustok_events::{
    EventId,
    envelope::{WireHeaders, header},
    transport::OutgoingMessage,
};
use uuid::Uuid;

use super::broker::PARTITIONS;
use crate::sample::{Sample, TENANT};

/// How many messages one send and one poll take.
pub(super) const BATCH: u32 = 1_000;

/// What travels beside a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Headers {
    /// An envelope's ten headers.
    Envelope,
    /// None.
    None,
}

impl Headers {
    pub(super) const ALL: [Self; 2] = [Self::Envelope, Self::None];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Envelope => "an envelope's headers",
            Self::None => "no headers",
        }
    }
}

/// Batches, each for a partition, the partitions in turn.
pub(super) fn batches(
    messages: u64,
    batch: u32,
    headers: Headers,
) -> Result<Vec<(u32, Vec<OutgoingMessage>)>> {
    let mut partition = 0;
    let mut batches = Vec::new();
    for first in (0..messages).step_by(batch as usize) {
        let numbers = first..messages.min(first + u64::from(batch));
        let of = numbers.map(|number| message(number, headers)).collect::<Result<_>>()?;
        batches.push((partition, of));
        partition = (partition + 1) % PARTITIONS;
    }
    Ok(batches)
}

/// A message.
pub(super) fn message(number: u64, headers: Headers) -> Result<OutgoingMessage> {
    let sample = Sample::new(number);
    let id = EventId::new();
    let headers = match headers {
        Headers::None => WireHeaders::new(),
        Headers::Envelope => envelope(id, sample.key()),
    };
    Ok(OutgoingMessage { id, headers, payload: sample.payload()?.into() })
}

fn envelope(id: EventId, key: &str) -> WireHeaders {
    let id = id.to_string();
    let tenant = TENANT.to_string();
    WireHeaders::from([
        (header::ID, id.as_str()),
        (header::CORRELATION_ID, id.as_str()),
        (header::TENANT_ID, tenant.as_str()),
        (header::PARTITION_KEY, key),
        (header::TYPE, "sample"),
        (header::SOURCE, "/benches/samples"),
        (header::SPEC_VERSION, "1.0"),
        (header::DATA_VERSION, "1"),
        (header::TIME, "2026-01-02T03:04:05.000006Z"),
        (header::CONTENT_TYPE, "application/json"),
    ])
}

/// A consumer group that nobody has used yet.
pub(super) fn group() -> String {
    format!("group-{}", Uuid::now_v7().simple())
}
