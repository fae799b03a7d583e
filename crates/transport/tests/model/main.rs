//! Both sides of a connection against models that are written from `docs/protocol.md` and know nothing of
//! the code: after each of many random events, what is on the wire and what became of each call must be
//! what the model says.
//!
//! Time is paused and each event is worked off before the next one; what happens between two threads, and
//! what bytes at random do, is for other tests (`docs/proof.md`).
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod server;

use proptest::test_runner::Config;
use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, ReadBuf};
use towpath_codec::{FrameHeader, HEADER_LEN};

/// More with `PROPTEST_CASES`.
fn cases() -> Config {
    let config = Config { failure_persistence: None, ..Config::default() };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => Config { cases: 1000, ..config },
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// The other end of a connection.
struct Wire {
    io: Option<DuplexStream>,
    got: Vec<u8>,
    /// The side under test has closed its half.
    over: bool,
}

impl Wire {
    fn new(io: DuplexStream) -> Self {
        Wire { io: Some(io), got: Vec::new(), over: false }
    }

    async fn send(&mut self, bytes: &[u8]) {
        if let Some(io) = &mut self.io {
            // To a side that has gone, nothing arrives.
            let _ = io.write_all(bytes).await;
        }
    }

    fn cut(&mut self) {
        self.io = None;
    }

    /// Takes what is there; says how much there has been altogether.
    fn look(&mut self) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let mut block = [0; 4096];
        while let Some(io) = &mut self.io {
            let mut buf = ReadBuf::new(&mut block);
            match Pin::new(io).poll_read(&mut cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.got.extend_from_slice(buf.filled()),
                Poll::Ready(_) => {
                    self.over = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        self.got.len() + usize::from(self.over)
    }

    /// The frames since the last time.
    fn frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        let (mut frames, mut rest) = (Vec::new(), &self.got[..]);
        while let Some((head, more)) = rest.split_first_chunk::<HEADER_LEN>() {
            let header = FrameHeader::parse(head, u32::MAX).unwrap();
            let (payload, more) = more.split_at(header.len as usize);
            frames.push((header.kind, payload.to_vec()));
            rest = more;
        }
        assert!(rest.is_empty(), "half a frame");
        self.got.clear();
        frames
    }

    /// Lets everybody run until nothing changes any more. The clock stands still.
    async fn settle(&mut self, mut done: impl FnMut() -> usize) {
        let mut before = (usize::MAX, 0);
        loop {
            for _ in 0..16 {
                tokio::task::yield_now().await;
            }
            let now = (self.look(), done());
            if now == before {
                return;
            }
            before = now;
        }
    }
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = FrameHeader { kind, len: payload.len() as u32 }.to_bytes().to_vec();
    out.extend_from_slice(payload);
    out
}
