//! A connection in memory.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One end of a connection in memory, with a name, a bounded buffer for each direction, and a [`Link`] by
/// which a test stalls, ends or cuts it. No socket, no runtime, no timer.
///
/// What is written to one end is read from the other. A full buffer makes the writer wait. When an end is
/// shut down or dropped, the other one reads what is left and then the end; it writes no more
/// (`BrokenPipe`) once the end is dropped.
///
/// ```
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use towpath_testing::MemoryIo;
///
/// # towpath_testing::time::paused(async {
/// let (mut client, mut server) = MemoryIo::pair("client to server", 1024);
/// client.write_all(b"ping").await?;
/// let mut read = [0; 4];
/// server.read_exact(&mut read).await?;
/// assert_eq!(&read, b"ping");
///
/// client.link().cut();
/// let error = server.read(&mut read).await.unwrap_err();
/// assert_eq!(error.to_string(), "client to server: connection reset");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
pub struct MemoryIo {
    link: Link,
    /// Which end: the direction that it writes to.
    side: usize,
}

/// The controls of a connection in memory; clones control the same one.
#[derive(Clone)]
pub struct Link {
    name: Arc<str>,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    capacity: usize,
    stalled: bool,
    reset: bool,
    lanes: [Lane; 2],
}

/// One direction.
#[derive(Default)]
struct Lane {
    bytes: VecDeque<u8>,
    ended: bool,
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Shared {
    fn wake(&mut self) {
        for lane in &mut self.lanes {
            for waker in [lane.reader.take(), lane.writer.take()].into_iter().flatten() {
                waker.wake();
            }
        }
    }
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Shared)) {
        let mut shared = self.lock();
        change(&mut shared);
        shared.wake();
    }

    fn error(&self, kind: ErrorKind, what: &str) -> io::Error {
        io::Error::new(kind, format!("{}: {what}", self.name))
    }

    /// The name that it was given; errors carry it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Resets the connection: what is on its way is lost, and both ends fail with `ConnectionReset`.
    pub fn cut(&self) {
        self.change(|shared| {
            shared.reset = true;
            shared.lanes.iter_mut().for_each(|lane| lane.bytes.clear());
        });
    }

    /// Ends both directions in order: what is on its way still arrives, then both ends read the end.
    pub fn end(&self) {
        self.change(|shared| shared.lanes.iter_mut().for_each(|lane| lane.ended = true));
    }

    /// Nothing arrives any more, neither bytes nor ends, until [`resume`](Self::resume). Writers go on
    /// until the buffer is full. As with a peer that is frozen, or a cable that is pulled.
    pub fn stall(&self) {
        self.change(|shared| shared.stalled = true);
    }

    /// What was stalled goes on.
    pub fn resume(&self) {
        self.change(|shared| shared.stalled = false);
    }

    /// The bytes that were written and not read yet, in both directions.
    pub fn in_transit(&self) -> usize {
        self.lock().lanes.iter().map(|lane| lane.bytes.len()).sum()
    }

    /// Whether it was cut.
    pub fn is_cut(&self) -> bool {
        self.lock().reset
    }
}

impl MemoryIo {
    /// A connection; `capacity` bytes fit into each direction, at least 1.
    pub fn pair(name: impl Into<Arc<str>>, capacity: usize) -> (MemoryIo, MemoryIo) {
        let lanes = Default::default();
        let shared = Shared { capacity: capacity.max(1), stalled: false, reset: false, lanes };
        let link = Link { name: name.into(), shared: Arc::new(Mutex::new(shared)) };
        (MemoryIo { link: link.clone(), side: 0 }, MemoryIo { link, side: 1 })
    }

    /// The controls.
    pub fn link(&self) -> Link {
        self.link.clone()
    }

    /// Writes what fits of `bufs`.
    fn write(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut shared = self.link.lock();
        if shared.reset {
            return Poll::Ready(Err(self.link.error(ErrorKind::ConnectionReset, "connection reset")));
        }
        let capacity = shared.capacity;
        let lane = &mut shared.lanes[self.side];
        if lane.ended || lane.unread {
            return Poll::Ready(Err(self.link.error(ErrorKind::BrokenPipe, "the other end is closed")));
        }
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let mut written = 0;
        for buf in bufs {
            let fits = buf.len().min(capacity - lane.bytes.len());
            lane.bytes.extend(&buf[..fits]);
            written += fits;
        }
        if written == 0 {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(reader) = lane.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(written))
    }
}

impl AsyncRead for MemoryIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.link.lock();
        if shared.reset {
            return Poll::Ready(Err(self.link.error(ErrorKind::ConnectionReset, "connection reset")));
        }
        let stalled = shared.stalled;
        let lane = &mut shared.lanes[1 - self.side];
        if stalled || (lane.bytes.is_empty() && !lane.ended) {
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (front, back) = lane.bytes.as_slices();
        let first = front.len().min(buf.remaining());
        buf.put_slice(&front[..first]);
        let second = back.len().min(buf.remaining());
        buf.put_slice(&back[..second]);
        lane.bytes.drain(..first + second);
        if let Some(writer) = lane.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemoryIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.link.is_cut() {
            return Poll::Ready(Err(self.link.error(ErrorKind::ConnectionReset, "connection reset")));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.link.change(|shared| shared.lanes[self.side].ended = true);
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemoryIo {
    fn drop(&mut self) {
        self.link.change(|shared| {
            shared.lanes[self.side].ended = true;
            shared.lanes[1 - self.side].unread = true;
        });
    }
}

impl fmt::Debug for MemoryIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryIo").field("name", &self.link.name).field("side", &self.side).finish()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.lock();
        f.debug_struct("Link")
            .field("name", &self.name)
            .field("stalled", &shared.stalled)
            .field("reset", &shared.reset)
            .finish_non_exhaustive()
    }
}
