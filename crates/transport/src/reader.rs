//! Bytes on their way in: frames out of a stream.

use bytes::{Buf, Bytes, BytesMut};
use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;
use towpath_codec::{FrameError, FrameHeader, HEADER_LEN};

/// Read buffer. 64 KiB is where larger ones stop to pay.
const BLOCK: usize = 64 * 1024;

/// Payloads up to this size are copied out of the read buffer, so that a small body that is kept for long
/// does not pin a whole block; larger ones are slices of it.
const SMALL: usize = 512;

/// Small payloads are copied next to each other into blocks of this size: one that is kept pins at most
/// this much.
const ARENA: usize = 4 * 1024;

/// A frame up to this size gets its room in one piece as soon as its header is there; the room for a
/// larger one grows with what arrives, so that a declared length alone allocates nothing much.
const TRUSTED: usize = 256 * 1024;

/// How many read buffers each thread keeps for its connections.
const POOL: usize = 8;

thread_local! {
    /// Read buffers that no connection is using: a connection holds one only while a frame is half read.
    static BLOCKS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

fn take_block() -> BytesMut {
    BLOCKS.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(BLOCK))
}

fn give_block(mut block: BytesMut) {
    // Not one that somebody holds slices of, nor one that has grown for a large frame.
    if block.try_reclaim(BLOCK) && block.capacity() <= 2 * BLOCK {
        BLOCKS.with_borrow_mut(|blocks| {
            if blocks.len() < POOL {
                blocks.push(block);
            }
        });
    }
}

/// The next thing in the stream.
pub(crate) enum Next {
    /// A whole frame.
    Frame(u8, Bytes),
    /// More has to be read first.
    More,
}

/// Splits a stream of bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    buf: BytesMut,
    arena: BytesMut,
    /// The header of the frame that is half read, so that it is checked once.
    header: Option<FrameHeader>,
}

impl FrameReader {
    /// One read. `Ready(Ok(0))` is the end of the stream.
    pub(crate) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.buf.capacity() == 0 {
            self.buf = take_block();
        }
        let lacks = self.header.map_or(1, |header| {
            let lacks = (header.len as usize).saturating_sub(self.buf.len());
            // What is not trusted doubles with what has arrived.
            lacks.min(TRUSTED.max(self.buf.len()))
        });
        let least = lacks.max(BLOCK / 4);
        if self.buf.capacity() - self.buf.len() < least {
            self.buf.reserve(least.max(BLOCK));
        }
        let read = poll_read_buf(Pin::new(io), cx, &mut self.buf);
        if read.is_pending() && self.buf.is_empty() {
            // Nothing to do for now: the buffer serves other connections meanwhile.
            give_block(std::mem::take(&mut self.buf));
        }
        Poll::Ready(Ok(ready!(read)?))
    }

    /// Whether a frame is half read.
    pub(crate) fn is_partial(&self) -> bool {
        self.header.is_some() || !self.buf.is_empty()
    }

    /// The next frame of what has been read.
    #[inline]
    pub(crate) fn next(&mut self, max_payload: u32) -> Result<Next, FrameError> {
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(head) = self.buf.first_chunk::<HEADER_LEN>() else {
                    return self.check_early(max_payload);
                };
                let header = FrameHeader::parse(head, max_payload)?;
                self.buf.advance(HEADER_LEN);
                header
            }
        };
        let len = header.len as usize;
        if self.buf.len() < len {
            self.header = Some(header);
            return Ok(Next::More);
        }
        self.header = None;
        let payload = if len <= SMALL {
            if self.arena.capacity() < len {
                self.arena.reserve(ARENA);
            }
            self.arena.extend_from_slice(&self.buf[..len]);
            self.buf.advance(len);
            self.arena.split().freeze()
        } else {
            self.buf.split_to(len).freeze()
        };
        Ok(Next::Frame(header.kind, payload))
    }

    /// A header that is not whole yet may be wrong already, by its magic or its version; a stranger who
    /// sends two bytes and waits should hear so.
    #[cold]
    fn check_early(&self, max_payload: u32) -> Result<Next, FrameError> {
        let mut head = FrameHeader { kind: towpath_codec::kind::PING, len: 0 }.to_bytes();
        let have = self.buf.len().min(3);
        head[..have].copy_from_slice(&self.buf[..have]);
        FrameHeader::parse(&head, max_payload).map(|_| Next::More)
    }
}
