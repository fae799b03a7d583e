//! The one task of a connection: it reads, lets the service work, and writes the answers.

use super::{
    connection::{End, ServerConnection, Stage},
    input::Read,
    watch::WHILE_FULL,
};
use crate::{farewell::Farewell, traffic::ConnectionEnd};
use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{self, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tower_service::Service;
use towpath_codec::GoAwayReason;
use towpath_core::{BoxError, Request, Response};

/// How many reads a connection makes before it lets others run.
const READS: u32 = 4;

impl<T, S> ServerConnection<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    /// One wake-up. An error ends the connection.
    fn run(&mut self, cx: &mut task::Context<'_>) -> Result<(), End> {
        if let Stage::Fresh = self.stage {
            self.stage = Stage::Open;
            self.look_around()?;
        }
        if !matches!(self.stage, Stage::Draining { server: true, .. }) && self.drain.poll(cx) {
            self.begin_drain(true, self.config.drain_timeout, "draining");
        }
        let mut reads = 0;
        loop {
            let read = self.read(cx)?;
            self.write(cx)?;
            match read {
                Read::Some if reads == READS => cx.waker().wake_by_ref(),
                Read::Some => {
                    reads += 1;
                    continue;
                }
                // Nobody wakes a task for what it does not read: what was written may have made room.
                Read::Full if !self.is_full() => continue,
                Read::Full => self.alarm.not_later_than(Instant::now() + WHILE_FULL),
                Read::Dry => {}
            }
            if self.alarm.poll(cx).is_pending() {
                return Ok(());
            }
            self.look_around()?;
        }
    }

    /// Writes what is there, until there is nothing or the socket is full.
    fn write(&mut self, cx: &mut task::Context<'_>) -> Result<(), End> {
        loop {
            let idle = {
                let mut state = self.shared.lock();
                self.writing.append(&mut state.out);
                if self.writing.is_empty() {
                    state.driver_asked = false;
                    if !state.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                        state.driver = Some(cx.waker().clone());
                    }
                }
                let before = std::mem::replace(&mut self.outstanding, state.calls.len());
                if self.outstanding == 0 && before > 0 && self.config.idle_timeout.is_some() {
                    self.times.last_call = Instant::now();
                }
                self.outstanding == 0
            };
            if self.writing.is_empty() {
                self.times.half_written = None;
                let leaving = self.caller_done || matches!(self.stage, Stage::Draining { .. });
                return if leaving && idle { Err(End::Finished) } else { Ok(()) };
            }
            let written = self.writing.poll_write(&mut self.io, cx);
            self.meter.wrote(self.writing.take_sent());
            match written {
                Poll::Ready(Ok(())) => self.times.half_written = None,
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a connection broke");
                    return Err(End::Gone);
                }
                Poll::Pending => {
                    let at = self.writing.progress();
                    if self.times.half_written.is_none_or(|(_, before)| before != at) {
                        let now = Instant::now();
                        if self.times.half_written.is_some() {
                            // The socket was full, and the peer has taken something since: it lives.
                            self.times.last_read = now;
                            self.times.asked_for_life = None;
                        }
                        self.times.half_written = Some((now, at));
                        self.alarm.not_later_than(now + self.config.stall_timeout);
                    }
                    return Ok(());
                }
            }
        }
    }

    fn end(&mut self, end: End) {
        // What is finished is answered, whatever came after it.
        self.writing.append(&mut self.shared.lock().out);
        if let End::Violation(reason, text) = &end {
            if *reason != GoAwayReason::Idle {
                tracing::debug!(?reason, text, "a peer broke the protocol: its connection is closed");
            }
            self.meter.violated(*reason);
            self.goaway(*reason, text);
        }
        self.meter.closed(match &end {
            End::Gone => ConnectionEnd::Lost,
            End::Finished if self.caller_done => ConnectionEnd::ByPeer,
            End::Finished => ConnectionEnd::Finished,
            End::Violation(GoAwayReason::Idle, _) => ConnectionEnd::Idle,
            End::Violation(..) => ConnectionEnd::Protocol,
        });
        self.stop_calls();
        // Also for a peer that seems gone: it may have closed one half only, and still read its answers.
        self.stage = Stage::Ending(Farewell::new(mem::take(&mut self.writing)));
    }
}

impl<T, S> Future for ServerConnection<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !matches!(this.stage, Stage::Ending(_)) {
            match this.run(cx) {
                Ok(()) => return Poll::Pending,
                Err(end) => this.end(end),
            }
        }
        if let Stage::Ending(farewell) = &mut this.stage {
            ready!(farewell.poll(&mut this.io, cx, &this.meter));
        }
        Poll::Ready(())
    }
}
