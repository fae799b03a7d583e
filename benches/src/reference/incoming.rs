//! Frames out of a stream.

use super::{HEAD, MAGIC};
use bytes::{Buf, Bytes, BytesMut};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

/// A read buffer. Larger ones bring nothing: the cache is full.
const BLOCK: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Incoming {
    buf: BytesMut,
    /// What the frame that is half read still lacks.
    lacks: usize,
}

/// A frame that is whole, at the beginning of the buffer.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) id: u64,
    pub(super) len: usize,
}

impl Incoming {
    /// One read; 0 is the end.
    pub(super) fn poll_read(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let room = self.lacks.max(BLOCK / 4);
        if self.buf.capacity() - self.buf.len() < room {
            self.buf.reserve(self.lacks.max(BLOCK));
        }
        poll_read_buf(Pin::new(stream), cx, &mut self.buf)
    }

    /// Whether a whole frame is there. It is taken by [`take`](Self::take) or [`copy`](Self::copy).
    #[inline]
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        let Some(head) = self.buf.first_chunk::<HEAD>() else {
            self.lacks = HEAD - self.buf.len();
            return Ok(None);
        };
        let [m0, m1, m2, m3, l0, l1, l2, l3, id @ ..] = *head;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if self.buf.len() < HEAD + len {
            self.lacks = HEAD + len - self.buf.len();
            return Ok(None);
        }
        self.lacks = 0;
        Ok(Some(Frame { id: u64::from_be_bytes(id), len }))
    }

    /// The body, as a slice of the buffer.
    #[inline]
    pub(super) fn take(&mut self, frame: Frame) -> Bytes {
        self.buf.advance(HEAD);
        self.buf.split_to(frame.len).freeze()
    }

    /// The whole frame to somewhere else.
    #[inline]
    pub(super) fn copy(&mut self, frame: Frame, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.buf[..HEAD + frame.len]);
        self.buf.advance(HEAD + frame.len);
    }
}
