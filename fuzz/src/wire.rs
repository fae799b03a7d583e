//! A simple reading of a stream, to judge by; and the runtime in which connections are judged.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::runtime::Runtime;
use towpath_codec::{HEADER_LEN, kind};

#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub kind: u8,
    pub payload: &'a [u8],
}

impl Seen<'_> {
    /// The id in front; 0 where there is none.
    pub fn id(&self) -> u64 {
        self.payload.first_chunk().map_or(0, |raw| u64::from_be_bytes(*raw))
    }
}

/// The whole frames at the beginning of a stream, up to what is no frame; and whether the rest is none.
pub fn frames(mut stream: &[u8], max: u32) -> (Vec<Seen<'_>>, bool) {
    let mut frames = Vec::new();
    while let Some((head, rest)) = stream.split_first_chunk::<HEADER_LEN>() {
        let len = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        if head[..3] != *b"MC\x01" || len > max || matches!(head[3], 0 | 10..=0x7f) {
            return (frames, true);
        }
        let Some((payload, rest)) = rest.split_at_checked(len as usize) else { return (frames, false) };
        frames.push(Seen { kind: head[3], payload });
        stream = rest;
    }
    let bad = stream.iter().zip(b"MC\x01").any(|(byte, want)| byte != want);
    (frames, bad)
}

/// What a connection wrote: whole frames of its side, and a last one cut short only if it was cut off.
pub fn output(written: &[u8], of: &[u8], cut_off: bool) -> Vec<(u8, u64, Vec<u8>)> {
    let (frames, bad) = frames(written, u32::MAX);
    assert!(!bad, "what was written is no sequence of frames");
    let len: usize = frames.iter().map(|frame| HEADER_LEN + frame.payload.len()).sum();
    assert!(cut_off || len == written.len(), "the last frame is not whole");
    for (at, frame) in frames.iter().enumerate() {
        assert!(of.contains(&frame.kind), "{} from the wrong side", kind::name(frame.kind));
        assert!(frame.payload.len() >= 8, "a payload without an id");
        if frame.kind == kind::SETTINGS {
            assert_eq!(at, 0, "SETTINGS come first");
            towpath_codec::decode_settings(frame.payload).expect("whole SETTINGS");
        }
    }
    frames.iter().map(|frame| (frame.kind, frame.id(), frame.payload.to_vec())).collect()
}

/// One thread, and a clock that moves when everybody waits.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O")
}

/// A future that may be polled so many times. Who wakes itself without end stops the clock, and a hang
/// becomes a failure that says where.
pub struct Bounded<F> {
    inner: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Bounded<F> {
    pub fn new(polls: usize, inner: F) -> Self {
        Bounded { inner: Box::pin(inner), left: polls }
    }
}

impl<F: Future> Future for Bounded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        assert!(self.left > 0, "it wakes itself without end");
        self.left -= 1;
        self.inner.as_mut().poll(cx)
    }
}
