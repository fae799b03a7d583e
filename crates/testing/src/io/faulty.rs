//! A connection that misbehaves by a script.

use super::Link;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What goes wrong in one direction of a [`FaultyIo`]; nothing, until it is told.
#[derive(Clone, Debug, Default)]
#[must_use = "a script does nothing until it is given to a FaultyIo"]
pub struct Script {
    chop: Option<usize>,
    delay: Option<Duration>,
    stop: Option<(u64, Stop)>,
}

#[derive(Clone, Copy, Debug)]
enum Stop {
    Reset,
    End,
    Stall,
}

impl Script {
    /// Nothing goes wrong.
    pub fn new() -> Self {
        Script::default()
    }

    /// At most `bytes` (at least 1) at a time: with 1, every byte comes alone.
    pub fn chop(mut self, bytes: usize) -> Self {
        self.chop = Some(bytes.max(1));
        self
    }

    /// Each read or write waits that long before it is tried.
    pub fn delay(mut self, by: Duration) -> Self {
        self.delay = Some(by);
        self
    }

    /// After so many bytes the connection is reset: reads and writes fail with `ConnectionReset`.
    pub fn reset_after(mut self, bytes: u64) -> Self {
        self.stop = Some((bytes, Stop::Reset));
        self
    }

    /// After so many bytes the direction ends as if in order, in the middle of a frame or not: a reader
    /// reads the end; a writer shuts the inner connection down, so that the peer reads the end, and fails
    /// with `BrokenPipe`.
    pub fn end_after(mut self, bytes: u64) -> Self {
        self.stop = Some((bytes, Stop::End));
        self
    }

    /// After so many bytes nothing moves any more: reads and writes wait for ever.
    pub fn stall_after(mut self, bytes: u64) -> Self {
        self.stop = Some((bytes, Stop::Stall));
        self
    }
}

pin_project! {
    /// A connection around another one, with faults. It works on paused time.
    ///
    /// ```
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// use towpath_testing::{FaultyIo, MemoryIo, Script};
    ///
    /// # towpath_testing::time::paused(async {
    /// let (mut client, server) = MemoryIo::pair("a connection", 1024);
    /// let mut server = FaultyIo::new(server).reads(Script::new().chop(1).end_after(5));
    /// client.write_all(b"0123456789").await?;
    /// let mut text = String::new();
    /// assert_eq!(server.read_to_string(&mut text).await?, 5); // five reads of a byte each, then the end
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    #[derive(Debug)]
    pub struct FaultyIo<T> {
        #[pin]
        inner: T,
        link: Option<Link>,
        reads: Lane,
        writes: Lane,
    }
}

#[derive(Debug, Default)]
struct Lane {
    script: Script,
    moved: u64,
    /// The delay of the operation that is under way; boxed, so that the connection is `Unpin`.
    delay: Option<Pin<Box<Sleep>>>,
}

/// What an operation may do now.
enum Turn {
    Move(usize),
    Stop(Stop),
}

impl Lane {
    /// Waits, then says how many of `wanted` bytes may move.
    fn poll_turn(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Turn> {
        let mut allowed = self.script.chop.map_or(wanted, |chop| chop.min(wanted));
        if let Some((after, stop)) = self.script.stop {
            let left = after.saturating_sub(self.moved);
            if left == 0 {
                return Poll::Ready(Turn::Stop(stop));
            }
            allowed = allowed.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        if let Some(by) = self.script.delay {
            let delay = self.delay.get_or_insert_with(|| Box::pin(sleep(by)));
            ready!(delay.as_mut().poll(cx));
        }
        Poll::Ready(Turn::Move(allowed))
    }

    /// An operation is over.
    fn note(&mut self, moved: usize) {
        self.moved += moved as u64;
        self.delay = None;
    }
}

impl<T> FaultyIo<T> {
    /// A connection with no faults yet.
    pub fn new(inner: T) -> Self {
        FaultyIo { inner, link: None, reads: Lane::default(), writes: Lane::default() }
    }

    /// What goes wrong when this end reads.
    pub fn reads(mut self, script: Script) -> Self {
        self.reads.script = script;
        self
    }

    /// What goes wrong when this end writes.
    pub fn writes(mut self, script: Script) -> Self {
        self.writes.script = script;
        self
    }

    /// A reset cuts this link too, so that the other end sees it. Without it, the other end sees what
    /// becomes of the inner connection: an end, once it is dropped.
    pub fn resetting(mut self, link: Link) -> Self {
        self.link = Some(link);
        self
    }
}

fn reset(link: &Option<Link>) -> io::Error {
    if let Some(link) = link {
        link.cut();
    }
    io::Error::new(ErrorKind::ConnectionReset, "connection reset, on purpose")
}

impl<T: AsyncRead> AsyncRead for FaultyIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let mut bytes = [0; 4096];
        let wanted = buf.remaining().min(bytes.len());
        match ready!(this.reads.poll_turn(cx, wanted)) {
            Turn::Stop(Stop::Reset) => Poll::Ready(Err(reset(this.link))),
            Turn::Stop(Stop::End) => Poll::Ready(Ok(())),
            Turn::Stop(Stop::Stall) => Poll::Pending,
            Turn::Move(allowed) => {
                let mut part = ReadBuf::new(&mut bytes[..allowed]);
                ready!(this.inner.poll_read(cx, &mut part))?;
                buf.put_slice(part.filled());
                this.reads.note(part.filled().len());
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<T: AsyncWrite> AsyncWrite for FaultyIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        match ready!(this.writes.poll_turn(cx, buf.len())) {
            Turn::Stop(Stop::Reset) => Poll::Ready(Err(reset(this.link))),
            Turn::Stop(Stop::End) => {
                ready!(this.inner.poll_shutdown(cx))?;
                Poll::Ready(Err(io::Error::new(ErrorKind::BrokenPipe, "connection ended, on purpose")))
            }
            Turn::Stop(Stop::Stall) => Poll::Pending,
            Turn::Move(allowed) => {
                let written = ready!(this.inner.poll_write(cx, &buf[..allowed]))?;
                this.writes.note(written);
                Poll::Ready(Ok(written))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(cx)
    }
}
