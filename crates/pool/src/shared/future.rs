//! One call over a shared pool.

use super::{service::pick, store::Commons};
use crate::{
    Multiplexed,
    state::Held,
    wait::{Patience, Wait},
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use towpath_core::{Clock, Error, ErrorKind, Loan};

pin_project! {
    /// The answer of one call over a [`SharedPool`](super::SharedPool). If there is no connection, nothing happens before the
    /// first poll.
    ///
    /// Cancel safety: dropping it gives the call up.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<C, Request>
    where
        C: Multiplexed<Request>,
    {
        pool: Loan<Held<Commons<C>>>,
        #[pin]
        state: State<C, Request, C::Future>,
        // It has been made anew already.
        again: bool,
    }
}

pin_project! {
    // `Start` → `Called` → `Done`; without a connection, by way of `Waiting`. A call whose connection ended before the peer
    // began with it goes from `Called` to `Start` once more.
    #[project = StateProj]
    enum State<C: crate::Connection, Request, F>
    where
        C: Sync,
    {
        Start { request: Option<Request> },
        // Boxed, because it is rare and large.
        Waiting { waiting: Box<Waiting<C, Request>> },
        Called { #[pin] call: F },
        Done,
    }
}

/// A call in the line.
struct Waiting<C: crate::Connection + Sync, Request> {
    wait: Wait<Commons<C>>,
    request: Option<Request>,
}

impl<C, Request> ResponseFuture<C, Request>
where
    C: Multiplexed<Request>,
{
    #[inline]
    pub(super) fn called(pool: Loan<Held<Commons<C>>>, call: C::Future) -> Self {
        ResponseFuture { pool, state: State::Called { call }, again: false }
    }

    #[cold]
    pub(super) fn start(pool: Loan<Held<Commons<C>>>, request: Request) -> Self {
        ResponseFuture { pool, state: State::Start { request: Some(request) }, again: false }
    }
}

fn after_the_end() -> Error {
    Error::new(ErrorKind::Cancelled).because("the future was polled after its end")
}

/// Takes its place in the line.
#[cold]
fn wait_for<C, Request>(pool: &Loan<Held<Commons<C>>>, request: Request) -> Box<Waiting<C, Request>>
where
    C: Multiplexed<Request>,
{
    let config = pool.target.config.get();
    let deadline = C::context(&request).and_then(|context| context.deadline());
    let now = Clock::now();
    let patience = Patience::of_call(now, config.acquire_timeout, deadline);
    let wait = Wait::new(pool.clone(), config.max_waiting, now, patience);
    Box::new(Waiting { wait, request: Some(request) })
}

impl<C, Request> Future for ResponseFuture<C, Request>
where
    C: Multiplexed<Request>,
{
    type Output = Result<C::Response, C::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let StateProj::Called { call } = self.as_mut().project().state.project() else {
            return self.poll_otherwise(cx);
        };
        // As it comes, in place: it is looked at only if the call has failed.
        let polled = call.poll(cx);
        if !matches!(polled, Poll::Ready(Err(_))) {
            return polled;
        }
        self.poll_failed(cx, polled)
    }
}

impl<C, Request> ResponseFuture<C, Request>
where
    C: Multiplexed<Request>,
{
    /// Called -> Start, if it is made anew; else Done
    #[cold]
    fn poll_failed(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        polled: Poll<Result<C::Response, C::Error>>,
    ) -> Poll<Result<C::Response, C::Error>> {
        let mut this = self.as_mut().project();
        if !*this.again
            && let Poll::Ready(Err(error)) = &polled
            && let StateProj::Called { call } = this.state.as_mut().project()
            && let Some(mut request) = C::unprocessed(call, error)
        {
            // Its reading of the clock is stale.
            if let Some(context) = C::context_mut(&mut request) {
                context.set_stamp(None);
            }
            *this.again = true;
            this.state.set(State::Start { request: Some(request) });
            return self.poll_otherwise(cx);
        }
        this.state.set(State::Done);
        polled
    }

    #[cold]
    fn poll_otherwise(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<C::Response, C::Error>> {
        loop {
            let mut this = self.as_mut().project();
            match this.state.as_mut().project() {
                // Called: as if it had been so from the beginning
                StateProj::Called { .. } => return self.poll(cx),
                // Waiting -> Called; Done, if there is none to be had
                StateProj::Waiting { waiting } => {
                    let Waiting { wait, request } = &mut **waiting;
                    let outcome = ready!(wait.poll(cx));
                    if let (Ok(()), Some(waits)) = (&outcome, &*request) {
                        let open = this.pool.store.open.get();
                        // If what it was woken for is gone already it goes on waiting.
                        let Some(connection) = pick(this.pool, &open, waits) else { continue };
                        let Some(mut request) = request.take() else { continue };
                        let now = Clock::now();
                        wait.got(now);
                        if let Some(context) = C::context_mut(&mut request) {
                            // It has waited: the reading that came with it is stale.
                            context.set_stamp(context.deadline().map(|_| now));
                        }
                        this.state.set(State::Called { call: connection.call(request) });
                        continue;
                    }
                    this.state.set(State::Done);
                    return Poll::Ready(Err(outcome.err().unwrap_or_else(after_the_end).into()));
                }
                // Start -> Called, or Waiting
                StateProj::Start { request } => {
                    let Some(request) = request.take() else {
                        this.state.set(State::Done);
                        continue;
                    };
                    let open = this.pool.store.open.get();
                    let next = match pick(this.pool, &open, &request) {
                        Some(connection) => State::Called { call: connection.call(request) },
                        None => State::Waiting { waiting: wait_for(this.pool, request) },
                    };
                    this.state.set(next);
                }
                StateProj::Done => return Poll::Ready(Err(after_the_end().into())),
            }
        }
    }
}

impl<C, Request> fmt::Debug for ResponseFuture<C, Request>
where
    C: Multiplexed<Request>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Start { .. } => "start",
            State::Waiting { .. } => "waiting",
            State::Called { .. } => "called",
            State::Done => "done",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
