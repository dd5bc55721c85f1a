//! How a payload is written down: JSON or MessagePack, named by its content type.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{BoxError, Payload};

/// The encoding of a payload.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Codec {
    /// `application/json`.
    #[default]
    Json,
    /// `application/msgpack`, with field names kept.
    MessagePack,
}

impl Codec {
    /// The content type that is stored with the payload and sent with it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/msgpack",
        }
    }

    /// The codec of a content type; parameters such as `; charset=utf-8` are ignored.
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json" => Some(Self::Json),
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => {
                Some(Self::MessagePack)
            }
            _ => None,
        }
    }

    /// Encodes a value.
    pub fn encode<T: Serialize>(self, value: &T) -> Result<Vec<u8>, BoxError> {
        match self {
            Self::Json => Ok(serde_json::to_vec(value)?),
            Self::MessagePack => Ok(rmp_serde::to_vec_named(value)?),
        }
    }

    /// Decodes a value.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, BoxError> {
        match self {
            Self::Json => Ok(serde_json::from_slice(bytes)?),
            Self::MessagePack => Ok(rmp_serde::from_slice(bytes)?),
        }
    }
}

/// Encoded bytes and the codec they were encoded with.
#[derive(Debug, Clone)]
pub struct EncodedPayload {
    /// The codec.
    pub codec: Codec,
    /// The bytes.
    pub bytes: Bytes,
}

impl Payload for EncodedPayload {
    fn read<T: DeserializeOwned>(&self) -> Result<T, BoxError> {
        self.codec.decode(&self.bytes)
    }
}
