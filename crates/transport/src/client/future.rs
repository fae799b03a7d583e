//! A call on its way, and two smaller waits.

use super::{
    outcome::Outcome,
    shared::{self, Handle, Ping, Shared, Started, keep, wake},
    table::Phase,
};
use crate::{compression, fault, sync::MutexGuard};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use towpath_codec::kind;
use towpath_core::{Error, ErrorKind, Loan, Processed, Request, Response, context};

/// The answer of one call. Nothing is sent before the first poll.
///
/// Cancel safety: dropping it gives the call up: the callee is told (CANCEL), the late answer is dropped.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture {
    /// Keeps the connection open, also before the call is sent.
    shared: Loan<Handle>,
    /// Kept until the end: what the peer has not processed can be made again without a copy.
    request: Option<Request>,
    state: State,
}

/// `Start` → `Queued` → `Sent` → `Done`; a call that finds room skips `Queued`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Queued(u64),
    Sent(u64),
    Done,
}

impl ResponseFuture {
    #[inline]
    pub(crate) fn new(shared: Loan<Handle>, request: Request) -> Self {
        ResponseFuture { shared, request: Some(request), state: State::Start }
    }

    /// Whether no new call can be made on the connection of this one.
    pub fn is_connection_closed(&self) -> bool {
        !self.shared.is_open()
    }

    /// The request, back from a call that has ended: for one that was not processed
    /// ([`Error::processed`]), to be made again elsewhere without having been copied before. `None` while
    /// the call goes on, and the second time.
    pub fn take_request(&mut self) -> Option<Request> {
        if self.state == State::Done { self.request.take().map(compression::unpacked) } else { None }
    }
}

/// A call that was sent and has no answer; or an acceptance instead of one.
#[cold]
fn poll_unanswered(
    shared: &Loan<Handle>,
    mut state: MutexGuard<'_, shared::State>,
    id: u64,
    cx: &mut Context<'_>,
) -> Poll<Result<Response, Error>> {
    let Some(slot) = state.table.get(id) else {
        drop(state);
        return Poll::Ready(Err(after_the_end(shared)));
    };
    if slot.phase != Phase::Accepted {
        keep(&mut slot.waker, cx.waker());
        return Poll::Pending;
    }
    // Accepted: the slot goes over to the outcome, a future of its own; unless that is there already.
    let outcome = state.table.fetch_accepted(id);
    let next = if outcome.is_some() { shared.next_in_line(&mut state) } else { None };
    shared.show_taken(&state);
    drop(state);
    wake(next);
    let outcome = match outcome {
        None => Outcome::new(shared.clone(), id),
        Some(outcome) => Outcome::ready(shared.clone(), outcome),
    };
    let mut response = Response::default();
    outcome.put(&mut response);
    Poll::Ready(Ok(response))
}

fn after_the_end(shared: &Shared) -> Error {
    shared.error(ErrorKind::Cancelled).because("the future was polled after its end")
}

impl Future for ResponseFuture {
    type Output = Result<Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.state {
            State::Start => {
                this.state = State::Done;
                if let Some(request) = &this.request {
                    context::report_missing(request.method());
                }
                if this.shared.packing.is_on()
                    && let Some(request) = &mut this.request
                {
                    this.shared.packing.pack_request(request);
                }
                match this.shared.start(&this.request, cx.waker()) {
                    // The waker is in the table: there is nothing to look at yet.
                    Ok(Started::Sent(id)) => {
                        this.state = State::Sent(id);
                        Poll::Pending
                    }
                    Ok(Started::Queued(id)) => {
                        this.state = State::Queued(id);
                        Poll::Pending
                    }
                    Err(error) => Poll::Ready(Err(error)),
                }
            }
            State::Queued(id) => match this.shared.poll_queued(id, &this.request, cx.waker()) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(id)) => {
                    this.state = State::Sent(id);
                    Poll::Pending
                }
                Poll::Ready(Err(error)) => {
                    this.state = State::Done;
                    Poll::Ready(Err(error))
                }
            },
            State::Sent(id) => {
                let mut state = this.shared.lock();
                let Some(outcome) = state.table.fetch(id) else {
                    let polled = poll_unanswered(&this.shared, state, id, cx);
                    if polled.is_ready() {
                        this.state = State::Done;
                    }
                    return polled;
                };
                let next = this.shared.next_in_line(&mut state);
                this.shared.show_taken(&state);
                drop(state);
                wake(next);
                this.state = State::Done;
                Poll::Ready(fault::sort(outcome, &this.shared.peer))
            }
            State::Done => Poll::Ready(Err(after_the_end(&this.shared))),
        }
    }
}

impl Drop for ResponseFuture {
    fn drop(&mut self) {
        if let State::Queued(id) | State::Sent(id) = self.state {
            self.shared.leave(id);
        }
    }
}

/// Resolves when no new call can be made on a connection, with the reason. It does not keep the connection
/// open.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Closed {
    shared: Arc<Shared>,
    watching: Option<u64>,
}

impl Closed {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Closed { shared, watching: None }
    }

    /// Whether it was the peer, because nobody used the connection: see
    /// [`Connection::is_closed_idle`](super::Connection::is_closed_idle).
    pub fn is_closed_idle(&self) -> bool {
        self.shared.lock().closed_idle
    }
}

impl Future for Closed {
    type Output = Error;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Error> {
        let this = self.get_mut();
        let mut state = this.shared.lock();
        if let Some(error) = &state.closing {
            return Poll::Ready(error.clone());
        }
        let id = this.watching.unwrap_or_else(|| {
            state.next_ping += 1;
            state.next_ping
        });
        this.watching = Some(id);
        match state.watchers.iter_mut().find(|(watcher, _)| *watcher == id) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => state.watchers.push((id, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if let Some(id) = self.watching {
            self.shared.lock().watchers.retain(|(watcher, _)| *watcher != id);
        }
    }
}

/// The round trip of a PING.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct PingFuture {
    shared: Arc<Shared>,
    sent: Option<(u64, Instant)>,
}

impl PingFuture {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        PingFuture { shared, sent: None }
    }
}

impl Future for PingFuture {
    type Output = Result<Duration, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut state = this.shared.lock();
        let Some((id, since)) = this.sent else {
            if let Some(error) = &state.closing {
                return Poll::Ready(Err(error.clone().with_processed(Processed::No)));
            }
            let id = state.next_ping;
            state.next_ping += 1;
            state.pings.push(Ping { id, waker: cx.waker().clone(), answered: false });
            state.out.short(kind::PING, id);
            state.queued += 1;
            let driver = state.ask_flush();
            drop(state);
            wake(driver);
            this.sent = Some((id, Instant::now()));
            return Poll::Pending;
        };
        match state.pings.iter_mut().find(|ping| ping.id == id) {
            Some(ping) if !ping.answered => {
                ping.waker.clone_from(cx.waker());
                Poll::Pending
            }
            Some(_) => {
                state.pings.retain(|ping| ping.id != id);
                Poll::Ready(Ok(since.elapsed()))
            }
            None => {
                let lost = || this.shared.error(ErrorKind::ConnectionLost);
                Poll::Ready(Err(state.closing.clone().unwrap_or_else(lost)))
            }
        }
    }
}

impl Drop for PingFuture {
    fn drop(&mut self) {
        if let Some((id, _)) = self.sent {
            self.shared.lock().pings.retain(|ping| ping.id != id);
        }
    }
}
