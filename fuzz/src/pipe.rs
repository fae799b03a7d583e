//! A stream in memory whose other end is the fuzzer: it says what a read gives and what a write takes.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Clone, Debug)]
pub struct Pipe(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What was given to it altogether; and what was read of it.
    fed: Vec<u8>,
    read: usize,
    /// Up to where one read gets at most how much.
    pieces: VecDeque<(usize, usize)>,
    ended: bool,
    reset: bool,
    written: Vec<u8>,
    room: usize,
    shut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    pub fn new() -> Self {
        Pipe(Arc::new(Mutex::new(State {
            fed: Vec::new(),
            read: 0,
            pieces: VecDeque::new(),
            ended: false,
            reset: false,
            written: Vec::new(),
            room: usize::MAX,
            shut: false,
            reader: None,
            writer: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic holds it")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let wakers = (state.reader.take(), state.writer.take());
        drop(state);
        wakers.0.into_iter().chain(wakers.1).for_each(Waker::wake);
    }

    /// Bytes that arrive, so many with a read (or more, where it would take too many reads). Nothing comes
    /// after the end.
    pub fn feed(&self, bytes: &[u8], at_once: usize) {
        self.change(|state| {
            if !state.ended && !state.reset && !bytes.is_empty() {
                state.fed.extend_from_slice(bytes);
                state.pieces.push_back((state.fed.len(), at_once.max(bytes.len() / 200 + 1)));
            }
        });
    }

    /// The peer closes its half.
    pub fn end(&self) {
        self.change(|state| state.ended = true);
    }

    /// The connection breaks.
    pub fn reset(&self) {
        self.change(|state| state.reset = true);
    }

    /// The peer takes so many bytes more than it has until now, and no others.
    pub fn take_only(&self, bytes: usize) {
        self.change(|state| state.room = bytes);
    }

    pub fn is_over(&self) -> bool {
        let state = self.lock();
        state.ended || state.reset
    }

    pub fn written(&self) -> Vec<u8> {
        self.lock().written.clone()
    }

    pub fn written_len(&self) -> usize {
        self.lock().written.len()
    }

    pub fn fed(&self) -> Vec<u8> {
        self.lock().fed.clone()
    }

    /// Whether all that was fed has been read.
    pub fn is_read(&self) -> bool {
        let state = self.lock();
        state.read == state.fed.len()
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.lock();
        if state.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        assert!(buf.remaining() > 0, "a read without room looks like the end");
        match state.pieces.front() {
            Some(&(until, at_once)) => {
                let n = (until - state.read).min(at_once).min(buf.remaining());
                buf.put_slice(&state.fed[state.read..state.read + n]);
                state.read += n;
                if state.read == until {
                    state.pieces.pop_front();
                }
                Poll::Ready(Ok(()))
            }
            None if state.ended => Poll::Ready(Ok(())),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let state = &mut *self.lock();
        assert!(!state.shut, "a write after the end");
        if state.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let n = buf.len().min(state.room);
        if n == 0 && !buf.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.room -= n;
        state.written.extend_from_slice(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().shut = true;
        Poll::Ready(Ok(()))
    }
}
