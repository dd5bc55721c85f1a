//! What a fuzzer drives: a connection's bytes, and the rows on the disk. Not for use by hand: it changes without
//! notice.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iggy_binary_protocol::{
    WireEncode, WireIdentifier, WireName,
    codes::{CREATE_CONSUMER_GROUP_CODE, CREATE_STREAM_CODE, CREATE_TOPIC_CODE},
    requests::{
        consumer_groups::CreateConsumerGroupRequest, streams::CreateStreamRequest,
        topics::CreateTopicRequest,
    },
};

use super::{
    BrokerConfig, BrokerError,
    broker::{Broker, restore},
    commands, connection,
    partition::Found,
    store::{Loaded, add_record, journal},
};
use crate::BoxError;

/// A broker without a listener.
#[derive(Debug)]
pub struct FuzzedBroker(Arc<Broker>);

impl FuzzedBroker {
    /// Opens what the configuration says.
    ///
    /// # Errors
    /// Data that cannot be read.
    pub fn open(config: BrokerConfig) -> Result<Self, BrokerError> {
        let address = config.bind;
        Ok(Self(Arc::new(Broker::open(config, address)?.0)))
    }

    /// Makes the stream `s`, in it the topic `t` of two partitions, and of that the group `g`, each number 1.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn provision(&self) -> Result<(), BoxError> {
        let one = WireIdentifier::numeric(1);
        let stream = CreateStreamRequest { name: WireName::new("s")? };
        let topic = CreateTopicRequest {
            stream_id: one.clone(),
            partitions_count: 2,
            compression_algorithm: 1,
            message_expiry: 0,
            max_topic_size: 0,
            replication_factor: 1,
            name: WireName::new("t")?,
        };
        let group = CreateConsumerGroupRequest {
            stream_id: one.clone(),
            topic_id: one,
            name: WireName::new("g")?,
        };
        let mut session = self.0.connect(self.0.address);
        self.0.log_in(&mut session);
        for (code, body) in [
            (CREATE_STREAM_CODE, stream.to_bytes()),
            (CREATE_TOPIC_CODE, topic.to_bytes()),
            (CREATE_CONSUMER_GROUP_CODE, group.to_bytes()),
        ] {
            commands::execute(&self.0, &mut session, code, BytesMut::from(body)).await?;
        }
        self.0.disconnect(&session);
        Ok(())
    }

    /// Frees its folder. Blocks.
    pub fn close(self) {
        self.0.close();
    }

    /// Serves a connection that sends these bytes and ends; gives what it was answered.
    pub async fn converse(&self, logged_in: bool, bytes: &[u8]) -> Vec<u8> {
        connection::converse(&self.0, logged_in, bytes).await
    }
}

/// Where the sound writes end that a journal begins with, and whether anything but room follows.
///
/// # Errors
/// None: the bytes are in memory.
pub fn examine_journal(journal: &[u8]) -> std::io::Result<(u64, bool)> {
    let found = journal::examine(std::io::Cursor::new(journal))?;
    Ok((found.end, found.flaw.is_some()))
}

/// A row as the journal has it: the number of its keyspace, its key, and its value if it is put.
pub type JournalRow<'a> = (u64, &'a [u8], Option<&'a [u8]>);

/// A sound write of a journal, with its number and its rows.
pub fn journal_write(number: u64, rows: &[JournalRow<'_>]) -> Vec<u8> {
    journal::encode(number, rows)
}

/// A row as it lies on the disk: its key, and what it holds.
pub type Row<'a> = (&'a [u8], &'a [u8]);

/// Builds a broker's streams, topics, groups and offsets from rows; says how many partitions there are.
///
/// # Errors
/// Rows that make no sense.
pub fn restore_rows(
    meta: &[Row<'_>],
    bounds: &[Row<'_>],
    offsets: &[Row<'_>],
) -> Result<usize, BoxError> {
    let mut loaded = Loaded::default();
    for (key, value) in meta {
        loaded.add_meta(key, value);
    }
    bounds.iter().try_for_each(|(key, value)| loaded.add_bounds(key, value))?;
    offsets.iter().try_for_each(|(key, value)| loaded.add_offset(key, value))?;
    let topology = restore(&loaded, &BrokerConfig::in_memory())?.topology;
    let mut partitions = 0;
    for topic in topology.topics() {
        topic.header()?;
        partitions += topic.partitions.len();
    }
    Ok(partitions)
}

/// Reads messages from records' rows; gives how many there are, and their bytes.
///
/// # Errors
/// A row that is no record.
pub fn read_records(
    records: &[Row<'_>],
    offset: u64,
    count: u32,
    bytes: usize,
) -> Result<(u32, Vec<u8>), BoxError> {
    let mut found = Found::default();
    for (key, frames) in records {
        let frames = Bytes::copy_from_slice(frames);
        if !add_record(&mut found, key, frames, offset, count, bytes)? {
            break;
        }
    }
    Ok((found.count, found.parts.concat()))
}
