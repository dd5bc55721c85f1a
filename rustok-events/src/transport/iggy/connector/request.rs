//! What is sent.

use std::collections::BTreeMap;

use crate::EventId;

/// Bytes for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishRequest {
    /// The stream; empty for [`Topology::stream_name`](crate::iggy::Topology::stream_name).
    pub stream: String,
    /// The topic. It is made if it is not there.
    pub topic: String,
    /// What is sent, 1 byte to 64 MB.
    pub payload: Vec<u8>,
    /// The message id.
    pub id: EventId,
    /// Requests with equal keys go to one partition, in order. Without a key the id decides.
    pub partition_key: Option<Vec<u8>>,
    /// Headers, with names and values of 1 to 255 bytes.
    pub headers: BTreeMap<String, Vec<u8>>,
}

impl PublishRequest {
    /// Bytes for a topic, under a new id.
    pub fn new(
        stream: impl Into<String>,
        topic: impl Into<String>,
        payload: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            stream: stream.into(),
            topic: topic.into(),
            payload: payload.into(),
            id: EventId::new(),
            partition_key: None,
            headers: BTreeMap::new(),
        }
    }

    /// Sets what keeps its order.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.partition_key = Some(key.into());
        self
    }

    /// Sets the message id.
    #[must_use]
    pub fn id(mut self, id: EventId) -> Self {
        self.id = id;
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }
}
