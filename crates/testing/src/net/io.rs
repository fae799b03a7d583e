//! One end of a connection of a network.

use super::{
    lane::Lane,
    world::{Event, Shared, WireId, end},
};
use std::{
    fmt,
    future::Future,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// One end of a connection of a [`Network`](super::Network). Dropping it closes it: with input unread that is a reset, as
/// with a socket.
pub struct NetIo {
    shared: Shared,
    wire: WireId,
    side: usize,
    reading: Timer,
    writing: Timer,
}

/// Wakes the task when something arrives.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready if that time is over.
    fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx)
    }
}

fn reset() -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, "connection reset by peer")
}

impl NetIo {
    pub(super) fn new(shared: Shared, wire: WireId, side: usize) -> Self {
        NetIo { shared, wire, side, reading: Timer::default(), writing: Timer::default() }
    }

    /// Which connection it belongs to.
    pub fn wire(&self) -> WireId {
        self.wire
    }

    /// Writes what fits of `bufs`.
    fn write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let (id, side) = (self.wire, self.side);
        loop {
            let now = Instant::now();
            let mut world = self.shared.lock();
            let Some(mut wire) = world.wires.remove(&id) else { return Poll::Ready(Err(reset())) };
            let mut next = wire.lanes[1 - side].reset;
            let outcome = if wire.was_reset[side] || next.is_some_and(|at| at <= now) {
                if !wire.was_reset[side] {
                    wire.was_reset[side] = true;
                    world.tell(Event::Reset { wire: id, end: end(side) });
                }
                Some(Err(reset()))
            } else if wire.lanes[side].fin.is_some() && !wire.lanes[side].severed {
                Some(Err(io::Error::new(ErrorKind::BrokenPipe, "this end is shut down")))
            } else {
                let heard = world.carries(&wire, 1 - side);
                let lane = &mut wire.lanes[side];
                while heard && lane.acks.front().is_some_and(|(at, _)| *at <= now) {
                    lane.unacked -= lane.acks.pop_front().map_or(0, |(_, bytes)| bytes);
                }
                let room = world.conditions.window.saturating_sub(lane.unacked);
                let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(room).collect();
                if bytes.is_empty() && bufs.iter().any(|buf| !buf.is_empty()) {
                    let ack = lane.acks.front().map(|(at, _)| *at).filter(|_| heard);
                    next = next.into_iter().chain(ack).min();
                    lane.writer = Some(cx.waker().clone());
                    None
                } else {
                    world.tell(Event::Wrote { wire: id, end: end(side), bytes: &bytes });
                    if wire.lanes[side].severed {
                        let there = world.latency();
                        world.reset(&mut wire, 1 - side, there);
                    } else {
                        world.send(&mut wire, side, &bytes);
                        world.bounce(&mut wire, side);
                    }
                    Some(Ok(bytes.len()))
                }
            };
            world.wires.insert(id, wire);
            drop(world);
            match (outcome, next) {
                (Some(outcome), _) => return Poll::Ready(outcome),
                (None, Some(at)) if self.writing.poll(at, cx).is_ready() => {}
                (None, _) => return Poll::Pending,
            }
        }
    }

    /// What can be read now; else when to look again.
    fn take(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Result<io::Result<()>, Option<Instant>> {
        let (id, side) = (self.wire, self.side);
        let now = Instant::now();
        let mut world = self.shared.lock();
        let world = &mut *world;
        let Some(mut wire) = world.wires.remove(&id) else { return Ok(Err(reset())) };
        let heard = world.carries(&wire, 1 - side);
        let back = world.latency();
        let due = wire.lanes[1 - side].reset.is_some_and(|at| at <= now);
        if due && !wire.was_reset[side] {
            wire.was_reset[side] = true;
            world.tell(Event::Reset { wire: id, end: end(side) });
            if world.conditions.reset_destroys {
                wire.lanes[1 - side].segments.clear();
            }
        }
        let arrives = wire.lanes[1 - side].next_arrival();
        let Lane { segments, acks, reset: coming, reader, writer, .. } = &mut wire.lanes[1 - side];
        let outcome = match segments.front_mut() {
            Some(segment) if heard && arrives.is_some_and(|at| at <= now) => {
                let rest = &segment.bytes[segment.read..];
                let count = rest.len().min(buf.remaining());
                world.tell(Event::Read { wire: id, end: end(side), bytes: &rest[..count] });
                buf.put_slice(&rest[..count]);
                segment.read += count;
                if segment.read == segment.bytes.len() {
                    segments.pop_front();
                }
                acks.push_back((now + back, count));
                if let Some(writer) = writer.take() {
                    writer.wake();
                }
                Ok(Ok(()))
            }
            _ if wire.was_reset[side] => Ok(Err(reset())),
            None if heard && arrives.is_some_and(|at| at <= now) => {
                world.tell(Event::Read { wire: id, end: end(side), bytes: &[] });
                Ok(Ok(()))
            }
            _ => {
                *reader = Some(cx.waker().clone());
                Err(arrives.filter(|_| heard).into_iter().chain(*coming).min())
            }
        };
        world.wires.insert(id, wire);
        outcome
    }
}

impl AsyncRead for NetIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.take(cx, buf) {
                Ok(outcome) => return Poll::Ready(outcome),
                Err(Some(at)) if this.reading.poll(at, cx).is_ready() => {}
                Err(_) => return Poll::Pending,
            }
        }
    }
}

impl AsyncWrite for NetIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut world = self.shared.lock();
        let Some(mut wire) = world.wires.remove(&self.wire) else { return Poll::Ready(Err(reset())) };
        world.finish(&mut wire, self.side);
        world.wires.insert(self.wire, wire);
        Poll::Ready(Ok(()))
    }
}

impl Drop for NetIo {
    fn drop(&mut self) {
        self.shared.lock().leave(self.wire, self.side);
    }
}

impl fmt::Debug for NetIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetIo").field("wire", &self.wire.0).field("end", &end(self.side)).finish()
    }
}
