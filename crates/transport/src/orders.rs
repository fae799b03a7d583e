//! What the tests that try every order share: a stream in memory whose ends may be on different threads.
// Tests may fail as loudly as they like, helpers included.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::sync::{Mutex, MutexGuard};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use towpath_codec::{FrameHeader, HEADER_LEN};

/// Answers what is written to it, as it is told.
pub(crate) type Answer = fn(u8, &[u8]) -> Vec<u8>;

#[derive(Clone, Debug)]
pub(crate) struct Line(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    answer: Answer,
    inbound: Vec<u8>,
    written: Vec<u8>,
    /// Up to where it is answered.
    answered: usize,
    over: bool,
    reader: Option<Waker>,
}

impl Line {
    pub(crate) fn new(answer: Answer) -> Self {
        let (inbound, written) = (Vec::new(), Vec::new());
        Line(Arc::new(Mutex::new(State { answer, inbound, written, answered: 0, over: false, reader: None })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Something arrives.
    pub(crate) fn feed(&self, bytes: &[u8]) {
        let mut state = self.lock();
        state.inbound.extend_from_slice(bytes);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    /// The peer is gone.
    pub(crate) fn cut(&self) {
        let mut state = self.lock();
        state.over = true;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    /// The types and ids of the frames that were written.
    pub(crate) fn frames(&self) -> Vec<(u8, u64)> {
        let (mut rest, mut frames) = (&self.lock().written.clone()[..], Vec::new());
        while let Some((kind, payload, more)) = split(rest) {
            frames.push((kind, towpath_codec::id(payload).unwrap()));
            rest = more;
        }
        frames
    }
}

fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let header = FrameHeader::parse(head, u32::MAX).unwrap();
    let (payload, rest) = rest.split_at_checked(header.len as usize)?;
    Some((header.kind, payload, rest))
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.lock();
        if !state.inbound.is_empty() {
            buf.put_slice(&std::mem::take(&mut state.inbound));
            return Poll::Ready(Ok(()));
        }
        if state.over {
            return Poll::Ready(Ok(()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.over {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        state.written.extend_from_slice(buf);
        let mut answers = Vec::new();
        while let Some((kind, payload, rest)) = split(&state.written[state.answered..]) {
            answers.extend((state.answer)(kind, payload));
            state.answered = state.written.len() - rest.len();
        }
        state.inbound.extend(answers);
        let reader = if state.inbound.is_empty() { None } else { state.reader.take() };
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().over = true;
        Poll::Ready(Ok(()))
    }
}

/// Tries every order with up to so many switches that no thread asked for; `LOOM_MAX_PREEMPTIONS` is the most
/// for all. A runtime is there for timers and handlers; its clock stands still, and its tasks never run.
pub(crate) fn every(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(model.preemption_bound.unwrap_or(usize::MAX).min(preemptions));
    let orders = Arc::new(AtomicUsize::new(0));
    let count = orders.clone();
    model.check(move || {
        count.fetch_add(1, Relaxed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.unwrap();
        let _entered = runtime.enter();
        test();
    });
    println!("{} orders", orders.load(Relaxed));
}
