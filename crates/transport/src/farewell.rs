//! How a connection is closed so that the last words arrive.

use crate::{out::OutQueue, traffic::Meter};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// How long, and how much, is read and thrown away after the last word.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// How long the last words may take to go out to a peer that hardly reads.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Writes what is left, closes the sending half, throws away what still arrives for a while, and ends.
///
/// A socket that is closed with input unread is reset, and a reset destroys what the peer has not read
/// yet: the GOAWAY, and answers before it.
#[derive(Debug)]
pub(crate) struct Farewell {
    out: OutQueue,
    stage: Stage,
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug)]
enum Stage {
    Writing,
    Closing,
    Listening { left: usize },
}

impl Farewell {
    /// Says what is in `out` and closes. Must be made inside a runtime.
    pub(crate) fn new(out: OutQueue) -> Self {
        Farewell { out, stage: Stage::Writing, timer: Box::pin(sleep_until(Instant::now() + LAST_WORDS)) }
    }

    /// Ready when the stream may be dropped. Errors end it: there is nobody left to tell.
    pub(crate) fn poll<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
        meter: &Meter,
    ) -> Poll<()> {
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            match &mut self.stage {
                Stage::Writing => {
                    let written = self.out.poll_write(io, cx);
                    meter.wrote(self.out.take_sent());
                    match written {
                        Poll::Ready(Ok(())) => self.stage = Stage::Closing,
                        Poll::Ready(Err(_)) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                Stage::Closing => match Pin::new(&mut *io).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => {
                        self.stage = Stage::Listening { left: LINGER_BYTES };
                        self.timer.as_mut().reset(Instant::now() + LINGER);
                        if self.timer.as_mut().poll(cx).is_ready() {
                            return Poll::Ready(());
                        }
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                },
                Stage::Listening { left } => {
                    let mut scratch = [0u8; 4096];
                    let mut buf = ReadBuf::new(&mut scratch);
                    match Pin::new(&mut *io).poll_read(cx, &mut buf) {
                        Poll::Ready(Ok(())) if !buf.filled().is_empty() && *left > 0 => {
                            *left = left.saturating_sub(buf.filled().len());
                        }
                        Poll::Ready(_) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }
}
