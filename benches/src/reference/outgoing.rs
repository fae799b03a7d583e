//! Frames on their way out.

use super::{HEAD, LARGE, MAGIC};
use bytes::{Buf, Bytes};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{io::AsyncWrite, net::TcpStream};

/// How many slices one write takes.
const SLICES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// What comes before `open`: large bodies, and what was open before each of them.
    closed: VecDeque<Bytes>,
    /// Heads and small bodies, and how much of it is written.
    pub(super) open: Vec<u8>,
    written: usize,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.closed.is_empty()
    }

    #[inline]
    pub(super) fn push(&mut self, id: u64, body: &Bytes) {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&MAGIC);
        head[4..8].copy_from_slice(&(body.len() as u32).to_be_bytes());
        head[8..].copy_from_slice(&id.to_be_bytes());
        self.open.reserve(HEAD + LARGE.min(body.len()));
        self.open.extend_from_slice(&head);
        if body.len() < LARGE {
            self.open.extend_from_slice(body);
        } else {
            let mut open = Bytes::from(mem::take(&mut self.open));
            open.advance(mem::take(&mut self.written));
            self.closed.extend([open, body.clone()]);
        }
    }

    /// Writes all.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let open = &self.open[self.written..];
            let mut n = if self.closed.is_empty() {
                ready!(Pin::new(&mut *stream).poll_write(cx, open))?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let all = self.closed.iter().map(|body| &body[..]).chain([open]);
                let count = slices.iter_mut().zip(all).map(|(to, from)| *to = IoSlice::new(from)).count();
                ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..count]))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            while let Some(first) = self.closed.front_mut()
                && n > 0
            {
                let part = n.min(first.len());
                first.advance(part);
                n -= part;
                if first.is_empty() {
                    self.closed.pop_front();
                }
            }
            self.written += n;
            if self.written == self.open.len() {
                self.open.clear();
                self.written = 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}
