//! Bytes on their way out: small things copied together, large bodies by reference.

use bytes::Bytes;
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncWrite;
use towpath_codec::{GoAway, Settings};

/// Bodies from this size on are sent as a slice of their own (vectored) instead of being copied: a copy of
/// less costs about as much as another entry of the vector does.
const BY_REFERENCE: usize = 8 * 1024;

/// How many slices one vectored write takes.
const SLICES: usize = 64;

/// A buffer that has grown above this is given back when it is empty. Below, it stays for the next batch: to
/// grow anew each time costs more than to fill it. An idle connection gives back all of it.
const KEEP: usize = 256 * 1024;

/// Frames in the order in which they are to be written.
#[derive(Debug, Default)]
pub(crate) struct OutQueue {
    /// Heads and small bodies.
    pub(crate) buf: Vec<u8>,
    /// Large bodies, each with the length of `buf` at which it is to be sent.
    large: Vec<(usize, Bytes)>,
    large_bytes: usize,
    /// What of it is written: position in `buf`, index in `large`, position in that body.
    buf_at: usize,
    large_at: usize,
    body_at: usize,
    /// Frames in it that are an id, or about the connection.
    notes: u64,
    /// Frames in it that are requests or answers.
    messages: u64,
    sent: Sent,
}

/// What was written since somebody asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    /// Those that were requests or answers.
    pub(crate) messages: u64,
}

impl OutQueue {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Bytes that it holds, written or not.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.buf.len() + self.large_bytes
    }

    /// Appends a frame of an id alone.
    #[inline]
    pub(crate) fn short(&mut self, kind: u8, id: u64) {
        self.notes += 1;
        towpath_codec::put_short(&mut self.buf, kind, id);
    }

    /// Appends SETTINGS, if they say anything.
    pub(crate) fn settings(&mut self, settings: &Settings) {
        if *settings != Settings::default() {
            self.notes += 1;
            towpath_codec::put_settings(&mut self.buf, settings);
        }
    }

    /// Appends a GOAWAY.
    pub(crate) fn goaway(&mut self, goaway: &GoAway) {
        self.notes += 1;
        towpath_codec::put_goaway(&mut self.buf, goaway);
    }

    /// Appends a body behind the head that was just appended to `buf`: the frame is whole.
    #[inline]
    pub(crate) fn body(&mut self, body: &Bytes) {
        self.messages += 1;
        if body.len() < BY_REFERENCE {
            self.buf.extend_from_slice(body);
        } else {
            self.large_bytes += body.len();
            self.large.push((self.buf.len(), body.clone()));
        }
    }

    /// Changes whenever the peer has taken something.
    pub(crate) fn progress(&self) -> usize {
        self.buf_at + self.large_at + self.body_at
    }

    /// Takes over what another queue holds; the other one is empty then and keeps its buffer.
    pub(crate) fn append(&mut self, other: &mut OutQueue) {
        debug_assert_eq!((other.buf_at, other.large_at), (0, 0), "only an unwritten queue is appended");
        let base = self.buf.len();
        if base == 0 && self.is_written() {
            std::mem::swap(self, other);
            return;
        }
        self.buf.append(&mut other.buf);
        self.large.extend(other.large.drain(..).map(|(at, body)| (base + at, body)));
        self.large_bytes += std::mem::take(&mut other.large_bytes);
        self.notes += std::mem::take(&mut other.notes);
        self.messages += std::mem::take(&mut other.messages);
    }

    /// What was written since this was asked last. Ask after each write: what queues
    /// swap is not only what they hold.
    #[inline]
    pub(crate) fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }

    fn is_written(&self) -> bool {
        self.buf_at == self.buf.len() && self.large_at == self.large.len()
    }

    fn clear(&mut self) {
        self.buf.clear();
        self.large.clear();
        if self.buf.capacity() > KEEP {
            self.buf.shrink_to(KEEP);
        }
        (self.large_bytes, self.buf_at, self.large_at, self.body_at) = (0, 0, 0, 0);
        let (notes, messages) = (std::mem::take(&mut self.notes), std::mem::take(&mut self.messages));
        self.sent.frames += notes + messages;
        self.sent.messages += messages;
    }

    fn advance(&mut self, mut n: usize) {
        while n > 0 {
            let stop = self.large.get(self.large_at).map_or(self.buf.len(), |(at, _)| *at);
            if self.buf_at < stop {
                let step = n.min(stop - self.buf_at);
                self.buf_at += step;
                n -= step;
                continue;
            }
            let Some((_, body)) = self.large.get_mut(self.large_at) else { return };
            let step = n.min(body.len() - self.body_at);
            self.body_at += step;
            n -= step;
            if self.body_at == body.len() {
                // Released as soon as it is written, not when the whole queue is.
                *body = Bytes::new();
                self.large_at += 1;
                self.body_at = 0;
            }
        }
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let (mut buf_at, mut large_at, mut body_at) = (self.buf_at, self.large_at, self.body_at);
        let mut count = 0;
        while count < SLICES {
            let stop = self.large.get(large_at).map_or(self.buf.len(), |(at, _)| *at);
            if buf_at < stop {
                slices[count] = IoSlice::new(&self.buf[buf_at..stop]);
                buf_at = stop;
            } else if let Some((_, body)) = self.large.get(large_at) {
                slices[count] = IoSlice::new(&body[body_at..]);
                large_at += 1;
                body_at = 0;
            } else {
                break;
            }
            count += 1;
        }
        count
    }

    /// Writes until all is out (then the queue is empty again) or the socket takes no more.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let n = if self.large.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.buf[self.buf_at..]))?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = self.slices(&mut slices);
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices[..count]))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent.bytes += n as u64;
            self.advance(n);
        }
        // A socket has nothing to flush; a stream that encrypts may have.
        ready!(Pin::new(io).poll_flush(cx))?;
        self.clear();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;

    /// Takes a few bytes at a time, in turn by one slice and by several.
    struct Sipping(Vec<u8>, usize);

    impl AsyncWrite for Sipping {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let n = buf.len().min(self.1);
            self.0.extend_from_slice(&buf[..n]);
            Poll::Ready(Ok(n))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let before = self.0.len();
            for slice in slices {
                let left = self.1 - (self.0.len() - before);
                self.0.extend_from_slice(&slice[..slice.len().min(left)]);
            }
            Poll::Ready(Ok(self.0.len() - before))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn the_order_is_kept(
            sizes in proptest::collection::vec((0usize..40, prop_oneof![0usize..50, 8_000usize..9_000]), 0..70),
            sip in 300usize..30_000,
            split in 0usize..70,
        ) {
            let (mut queue, mut tail) = (OutQueue::default(), OutQueue::default());
            let mut want = Vec::new();
            for (i, (head, body)) in sizes.iter().enumerate() {
                let target = if i < split { &mut queue } else { &mut tail };
                let head = vec![i as u8; *head];
                let body = Bytes::from(vec![!(i as u8); *body]);
                want.extend_from_slice(&head);
                want.extend_from_slice(&body);
                target.buf.extend_from_slice(&head);
                target.body(&body);
            }
            queue.append(&mut tail);
            prop_assert_eq!(queue.len(), want.len());
            prop_assert_eq!(tail.len(), 0);
            let mut io = Sipping(Vec::new(), sip);
            let done = queue.poll_write(&mut io, &mut Context::from_waker(Waker::noop()));
            prop_assert!(matches!(done, Poll::Ready(Ok(()))));
            prop_assert!(io.0 == want);
            prop_assert_eq!(queue.len(), 0);
            let (bytes, messages) = (want.len() as u64, sizes.len() as u64);
            prop_assert_eq!(queue.take_sent(), Sent { bytes, frames: messages, messages });
            prop_assert_eq!(queue.take_sent(), Sent::default());
        }
    }
}
