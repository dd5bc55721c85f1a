//! Frames on the wire: `[length][code][payload]` one way, `[status][length][payload]` the other.

use std::{collections::VecDeque, io, io::IoSlice, sync::Arc};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use iggy::prelude::IggyError;
use iggy_binary_protocol::{
    WireEncode, framing::STATUS_OK, responses::messages::poll_messages::PollMessagesResponseHeader,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Bodies up to here are read into a fresh buffer of their size without asking for leave.
pub(super) const SMALL: usize = 64 * 1024;
/// Answers up to here are copied into one buffer and written at once.
const COPIED: usize = 16 * 1024;

/// What a request is answered with.
#[derive(Debug)]
pub(super) enum Reply {
    Empty,
    Body(Bytes),
    Messages {
        head: PollMessagesResponseHeader,
        parts: Vec<Bytes>,
        /// Given back once the answer is written.
        room: Option<OwnedSemaphorePermit>,
    },
}

impl Reply {
    pub(super) fn body(response: &impl WireEncode) -> Self {
        Self::Body(response.to_bytes())
    }
}

/// The start of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) code: u32,
    /// How long the payload is.
    pub(super) length: usize,
}

/// Reads the first byte of a request, which may be long in coming; `None` at the end of the stream.
pub(super) async fn read_first(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<u8>> {
    let mut first = [0];
    Ok((stream.read(&mut first).await? == 1).then_some(first[0]))
}

/// Reads the rest of a request's head; `None` if the length has no room for the code.
pub(super) async fn read_head(
    first: u8,
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<Head>> {
    let mut rest = [0; 7];
    stream.read_exact(&mut rest).await?;
    let length = u32::from_le_bytes([first, rest[0], rest[1], rest[2]]);
    let code = u32::from_le_bytes([rest[3], rest[4], rest[5], rest[6]]);
    Ok(length.checked_sub(4).map(|length| Head { code, length: length as usize }))
}

/// Reads a payload whose length was found acceptable.
pub(super) async fn read_body(
    length: usize,
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<BytesMut> {
    let mut body = BytesMut::with_capacity(length);
    let mut stream = stream.take(length as u64);
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body)
}

/// Reads a payload and forgets it, without holding more of it than a little.
pub(super) async fn skip_body(
    length: usize,
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<()> {
    let mut body = stream.take(length as u64);
    let skipped = tokio::io::copy(&mut body, &mut tokio::io::sink()).await?;
    if skipped == length as u64 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Writes an answer. An error has no payload: clients do not read one.
pub(super) async fn write(
    answer: Result<Reply, IggyError>,
    stream: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut head = BytesMut::with_capacity(8 + 16);
    let mut _room = None;
    let parts = match answer {
        Ok(Reply::Empty) => {
            head.put_u32_le(STATUS_OK);
            head.put_u32_le(0);
            Vec::new()
        }
        Ok(Reply::Body(body)) => {
            head.put_u32_le(STATUS_OK);
            head.put_u32_le(length(body.len())?);
            vec![body]
        }
        Ok(Reply::Messages { head: found, parts, room }) => {
            _room = room;
            let bytes = parts.iter().map(Bytes::len).sum::<usize>();
            head.put_u32_le(STATUS_OK);
            head.put_u32_le(length(found.encoded_size() + bytes)?);
            found.encode(&mut head);
            parts
        }
        Err(error) => {
            head.put_u32_le(error.as_code().max(1));
            head.put_u32_le(0);
            Vec::new()
        }
    };
    let bytes = parts.iter().map(Bytes::len).sum::<usize>();
    if bytes <= COPIED {
        head.reserve(bytes);
        for part in &parts {
            head.put_slice(part);
        }
        stream.write_all(&head).await
    } else {
        let mut parts = Parts(std::iter::once(head.freeze()).chain(parts).collect());
        stream.write_all_buf(&mut parts).await
    }
}

/// Waits until so many bytes may be taken into memory.
pub(super) async fn room(
    budget: &Arc<Semaphore>,
    bytes: usize,
) -> io::Result<OwnedSemaphorePermit> {
    let bytes = length(bytes)?;
    Arc::clone(budget).acquire_many_owned(bytes).await.map_err(io::Error::other)
}

fn length(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// Several buffers, written with few calls and without copying.
struct Parts(VecDeque<Bytes>);

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(&self.0) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some(part) = self.0.front_mut() else { return };
            let step = count.min(part.len());
            part.advance(step);
            count -= step;
            if part.is_empty() {
                self.0.pop_front();
            }
        }
    }
}
