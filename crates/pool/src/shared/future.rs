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
        Waiting { wait: Box<Wait<Commons<C>>>, request: Option<Request> },
        Called { #[pin] call: F },
        Done,
    }
}

impl<C, Request> ResponseFuture<C, Request>
where
    C: Multiplexed<Request>,
{
    #[inline]
    pub(super) fn new(
        pool: Loan<Held<Commons<C>>>,
        call: Option<C::Future>,
        request: Option<Request>,
    ) -> Self {
        let state = match call {
            Some(call) => State::Called { call },
            None => State::Start { request },
        };
        ResponseFuture { pool, state, again: false }
    }
}

fn after_the_end() -> Error {
    Error::new(ErrorKind::Cancelled).because("the future was polled after its end")
}

/// Takes its place in the line.
#[cold]
fn wait_for<C, Request>(pool: &Loan<Held<Commons<C>>>, request: &Request) -> Box<Wait<Commons<C>>>
where
    C: Multiplexed<Request>,
{
    let config = pool.target.config.get();
    let deadline = C::context(request).and_then(|context| context.deadline());
    let now = Clock::now();
    let patience = Patience::of_call(now, config.acquire_timeout, deadline);
    Box::new(Wait::new(pool.clone(), config.max_waiting, now, patience))
}

impl<C, Request> Future for ResponseFuture<C, Request>
where
    C: Multiplexed<Request>,
{
    type Output = Result<C::Response, C::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // Called -> Start, if it is made anew; else Done
                StateProj::Called { mut call } => {
                    let answer = ready!(call.as_mut().poll(cx));
                    if !*this.again
                        && let Err(error) = &answer
                        && let Some(mut request) = C::unprocessed(call, error)
                    {
                        // Its reading of the clock is stale.
                        if let Some(context) = C::context_mut(&mut request) {
                            context.set_stamp(None);
                        }
                        *this.again = true;
                        this.state.set(State::Start { request: Some(request) });
                        continue;
                    }
                    this.state.set(State::Done);
                    return Poll::Ready(answer);
                }
                // Waiting -> Called; Done, if there is none to be had
                StateProj::Waiting { wait, request } => {
                    let outcome = ready!(wait.poll(cx));
                    if let (Ok(()), Some(waits)) = (&outcome, &*request) {
                        let open = this.pool.store.open.get();
                        // If what it was woken for is gone already it goes on waiting.
                        let Some(connection) = pick(this.pool, &open, waits) else { continue };
                        let Some(mut request) = request.take() else { continue };
                        if let Some(context) = C::context_mut(&mut request) {
                            // It has waited: the reading that came with it is stale.
                            let now = context.deadline().map(|_| Clock::now());
                            context.set_stamp(now);
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
                        None => {
                            State::Waiting { wait: wait_for(this.pool, &request), request: Some(request) }
                        }
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
