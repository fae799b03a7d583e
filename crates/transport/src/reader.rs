//! Bytes on their way in: frames out of a stream.

use bytes::{Buf, Bytes, BytesMut};
use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;
use towpath_codec::{FrameError, FrameHeader, HEADER_LEN};

/// Read buffer. 64 KiB is where larger ones stop to pay; the rest is for the head of a body of 64 KiB,
/// which is a common size, so that it fits into one.
const BLOCK: usize = 66 * 1024;

/// Payloads up to this size are copied out of the read buffer, many at a time: a small body that is kept
/// for long is not to pin a whole block.
const SMALL: usize = 512;

/// Payloads up to this size are copied out of the read buffer one by one; larger ones are slices of it, and
/// one that is kept pins at most four times its size.
const MEDIUM: usize = 16 * 1024;

/// Small payloads that arrived together are copied together, up to this size: one that is kept pins at
/// most this much, and the copy is paid once for some dozens of them.
const CHUNK: usize = 4 * 1024;

/// A frame up to this size gets its room in one piece as soon as its header is there; the room for a
/// larger one grows with what arrives, so that a declared length alone allocates nothing much.
const TRUSTED: usize = 256 * 1024;

/// How many blocks each thread keeps for its connections.
const POOL: usize = 16;

thread_local! {
    /// Blocks that no connection reads into: a connection holds one only while a frame is half read. Of
    /// some, slices may still be in use; those become free when the last slice is dropped.
    static BLOCKS: RefCell<VecDeque<BytesMut>> = const { RefCell::new(VecDeque::new()) };
}

/// A block with room for so much: one that is free, or a new one. To give a block of this size back to the
/// system and to fetch it again costs more than to read it full (page faults).
fn take_block(room: usize) -> BytesMut {
    BLOCKS
        .with_borrow_mut(|blocks| {
            let free = blocks.iter_mut().position(|block| block.try_reclaim(room))?;
            blocks.remove(free)
        })
        .unwrap_or_else(|| BytesMut::with_capacity(room.max(BLOCK)))
}

fn give_block(mut block: BytesMut) {
    block.clear();
    // Not one that has grown for a frame of unusual size.
    if block.capacity() <= 2 * TRUSTED {
        BLOCKS.with_borrow_mut(|blocks| {
            if blocks.len() == POOL {
                blocks.pop_front();
            }
            blocks.push_back(block);
        });
    }
}

/// Splits a stream of bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    buf: BytesMut,
    /// What of `buf` has been taken.
    at: usize,
    /// The header of the frame that is half read, so that it is checked once.
    header: Option<FrameHeader>,
    /// A copy of a piece of `buf`, of which small payloads are slices; and where the piece begins.
    chunk: Bytes,
    chunk_at: usize,
    /// Where chunks are made, over and over in the same memory if nobody keeps one.
    arena: BytesMut,
    /// Frames that were whole since somebody asked.
    frames: u64,
}

impl FrameReader {
    /// One read. `Ready(Ok(0))` is the end of the stream.
    pub(crate) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.forget_taken();
        let there = self.buf.len();
        let lacks = self.header.map_or(1, |header| (header.len as usize).saturating_sub(there).max(1));
        // What is not trusted doubles with what has arrived, when that has filled its room: not with each
        // read, or every read of a large frame would move all that came before it.
        let least = match lacks {
            ..=TRUSTED if there > BLOCK => lacks,
            ..=TRUSTED => lacks.max(BLOCK / 4),
            _ => BLOCK / 4,
        };
        if self.buf.capacity() - there < least {
            self.make_room(lacks.min(TRUSTED.max(there)).max(BLOCK / 4));
        }
        let read = poll_read_buf(Pin::new(io), cx, &mut self.buf);
        if read.is_pending() && self.buf.is_empty() {
            // Nothing to do for now: the buffer serves other connections meanwhile.
            give_block(std::mem::take(&mut self.buf));
        }
        Poll::Ready(Ok(ready!(read)?))
    }

    /// Gives back what payloads were copied into. A block is not held between frames anyway.
    pub(crate) fn tidy(&mut self) {
        if !self.is_partial() {
            *self = FrameReader::default();
        }
    }

    /// How many whole frames there were since this was asked last.
    #[inline]
    pub(crate) fn take_count(&mut self) -> u64 {
        std::mem::take(&mut self.frames)
    }

    /// Whether a frame is half read.
    pub(crate) fn is_partial(&self) -> bool {
        self.header.is_some() || self.buf.len() > self.at
    }

    /// Whether the header of the frame that is half read is there.
    #[inline]
    pub(crate) fn has_header(&self) -> bool {
        self.header.is_some()
    }

    /// The header of the next frame, if all of that frame has been read; its payload is taken next. (Two
    /// steps, because the two in one value would be copied once more.)
    #[inline]
    pub(crate) fn next(&mut self, max_payload: u32) -> Result<Option<FrameHeader>, FrameError> {
        let header = match self.header.take() {
            Some(header) => header,
            None => {
                let Some(head) = self.buf[self.at..].first_chunk::<HEADER_LEN>() else {
                    return self.check_early(max_payload);
                };
                let header = FrameHeader::parse(head, max_payload)?;
                self.at += HEADER_LEN;
                header
            }
        };
        if self.buf.len() - self.at < header.len as usize {
            self.header = Some(header);
            return Ok(None);
        }
        self.frames += 1;
        Ok(Some(header))
    }

    /// The payload of the frame whose header was just [given](Self::next).
    #[inline]
    pub(crate) fn payload(&mut self, header: FrameHeader) -> Bytes {
        let len = header.len as usize;
        if len <= SMALL {
            self.small(len)
        } else if len <= MEDIUM {
            self.medium(len)
        } else {
            self.large(len)
        }
    }

    #[inline]
    fn small(&mut self, len: usize) -> Bytes {
        let from = self.at - self.chunk_at;
        self.at += len;
        if from + len > self.chunk.len() {
            return self.next_chunk(len);
        }
        self.chunk.slice(from..from + len)
    }

    /// Copies what has arrived from the current payload on.
    fn next_chunk(&mut self, len: usize) -> Bytes {
        let from = self.at - len;
        let piece = &self.buf[from..self.buf.len().min(from + CHUNK)];
        // Into the same memory, if nobody holds a slice of it any more.
        self.chunk = Bytes::new();
        self.arena.reserve(CHUNK);
        self.arena.extend_from_slice(piece);
        self.chunk = self.arena.split().freeze();
        self.chunk_at = from;
        self.chunk.slice(..len)
    }

    fn medium(&mut self, len: usize) -> Bytes {
        let from = self.at;
        self.at += len;
        Bytes::copy_from_slice(&self.buf[from..self.at])
    }

    fn large(&mut self, len: usize) -> Bytes {
        self.forget_taken();
        self.buf.split_to(len).freeze()
    }

    /// Room for so much more, behind what there is of the next frame.
    #[inline]
    fn make_room(&mut self, room: usize) {
        if self.buf.capacity() - self.buf.len() >= room
            || (self.buf.capacity() > 0 && self.buf.try_reclaim(room))
        {
            return;
        }
        let mut block = take_block(self.buf.len() + room);
        block.extend_from_slice(&self.buf);
        let spent = std::mem::replace(&mut self.buf, block);
        if spent.capacity() > 0 {
            give_block(spent);
        }
    }

    fn forget_taken(&mut self) {
        if self.at > 0 {
            self.buf.advance(self.at);
            self.at = 0;
            self.chunk_at = 0;
            self.chunk = Bytes::new();
        }
    }

    /// A header that is not whole yet may be wrong already, by its magic or its version; a stranger who
    /// sends two bytes and waits should hear so.
    #[cold]
    fn check_early(&self, max_payload: u32) -> Result<Option<FrameHeader>, FrameError> {
        let mut head = FrameHeader { kind: towpath_codec::kind::PING, len: 0 }.to_bytes();
        let have = (self.buf.len() - self.at).min(3);
        head[..have].copy_from_slice(&self.buf[self.at..self.at + have]);
        FrameHeader::parse(&head, max_payload).map(|_| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;
    use tokio::io::ReadBuf;

    /// Gives a stream in pieces.
    struct Pieces(Vec<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let Some(piece) = self.0.first_mut() else { return Poll::Pending };
            let n = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..n]);
            piece.drain(..n);
            if piece.is_empty() {
                self.0.remove(0);
            }
            Poll::Ready(Ok(()))
        }
    }

    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![6 => 0usize..100, 2 => 400usize..700, 1 => 4_000usize..9_000, 1 => 60_000usize..140_000]
    }

    /// However little comes with each read: what has arrived of a large frame is not moved for each of them.
    #[test]
    fn a_large_frame_is_moved_a_few_times() {
        let len = 4 << 20;
        let mut stream = FrameHeader { kind: 1, len: len as u32 }.to_bytes().to_vec();
        stream.resize(HEADER_LEN + len, 7);
        let pieces = stream.chunks(1000).map(<[u8]>::to_vec).collect();
        let (mut io, mut reader) = (Pieces(pieces), FrameReader::default());
        let mut cx = Context::from_waker(Waker::noop());
        let (mut moves, mut at) = (0, std::ptr::null());
        while reader.poll_read(&mut io, &mut cx).is_ready() {
            moves += usize::from(reader.buf.as_ptr() != at);
            at = reader.buf.as_ptr();
            if let Some(header) = reader.next(len as u32).unwrap() {
                let payload = reader.payload(header);
                assert_eq!(payload.len(), len);
            }
        }
        assert!(moves < 20, "{moves} times");
    }

    proptest! {
        /// However the stream is cut, and whoever keeps what: the frames are what was sent.
        #[test]
        fn frames_come_out_as_they_went_in(sizes in proptest::collection::vec(size(), 1..40), cuts in proptest::collection::vec(1usize..90_000, 0..30), keep in any::<u64>()) {
            let mut stream = Vec::new();
            for (i, size) in sizes.iter().enumerate() {
                stream.extend_from_slice(&FrameHeader { kind: 1, len: *size as u32 }.to_bytes());
                stream.extend(std::iter::repeat_n(i as u8, *size));
            }
            let mut pieces = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                if !piece.is_empty() {
                    pieces.push(piece.to_vec());
                }
                rest = more;
            }
            if !rest.is_empty() {
                pieces.push(rest.to_vec());
            }
            let (mut io, mut reader) = (Pieces(pieces), FrameReader::default());
            let mut cx = Context::from_waker(Waker::noop());
            let (mut got, mut kept) = (0usize, Vec::new());
            while reader.poll_read(&mut io, &mut cx).is_ready() {
                while let Some(header) = reader.next(1 << 20).unwrap() {
                    let payload = reader.payload(header);
                    prop_assert_eq!((header.kind, payload.len()), (1, sizes[got]));
                    prop_assert!(payload.iter().all(|byte| *byte == got as u8));
                    if keep >> (got % 64) & 1 == 1 {
                        kept.push((got, payload));
                    }
                    got += 1;
                }
            }
            prop_assert_eq!(got, sizes.len());
            prop_assert_eq!(reader.take_count(), sizes.len() as u64);
            prop_assert!(!reader.is_partial());
            for (i, payload) in kept {
                prop_assert!(payload.len() == sizes[i] && payload.iter().all(|byte| *byte == i as u8));
            }
        }
    }
}
