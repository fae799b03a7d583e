//! One call over an exclusive pool.

use super::{lease::Lease, store::Stock};
use crate::{
    Connection, Exclusive,
    state::Held,
    store::{Entered, Store},
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
    /// The answer of one call over an [`ExclusivePool`](super::ExclusivePool). Nothing happens before the first poll.
    ///
    /// Cancel safety: dropping it gives the call up, and the connection or the turn goes to the next one.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<C, Request>
    where
        C: Exclusive<Request>,
    {
        pool: Loan<Held<Stock<C>>>,
        #[pin]
        state: State<C, Request, C::Future>,
        // It has been made anew already.
        again: bool,
    }
}

pin_project! {
    // `Start` → `Called` → `Done`; where no connection is idle, by way of `Waiting`. A call whose connection ended before the
    // peer began with it goes from `Called` to `Start` once more.
    #[project = StateProj]
    enum State<C: Connection, Request, F> {
        Start { lease: Option<Lease<C>>, request: Option<Request> },
        // Boxed, because it is large.
        Waiting { wait: Box<Wait<Stock<C>>>, request: Option<Request> },
        // The call goes before its connection is given back.
        Called { #[pin] call: F, lease: Lease<C> },
        Done,
    }
}

impl<C, Request> ResponseFuture<C, Request>
where
    C: Exclusive<Request>,
{
    pub(super) fn new(pool: Loan<Held<Stock<C>>>, lease: Option<Lease<C>>, request: Request) -> Self {
        ResponseFuture { pool, state: State::Start { lease, request: Some(request) }, again: false }
    }
}

fn after_the_end() -> Error {
    Error::new(ErrorKind::Cancelled).because("the future was polled after its end")
}

/// An idle connection, if there is one and nobody waits.
fn take_idle<C: Connection>(pool: &Loan<Held<Stock<C>>>) -> Option<Lease<C>> {
    match pool.store.enter(0, false) {
        Entered::Got(lent) => Some(Lease::new(pool.clone(), lent)),
        // With room for nobody there is no ticket.
        Entered::Full | Entered::Waits { .. } => None,
    }
}

/// Takes its place in the line.
fn wait_for<C, Request>(pool: &Loan<Held<Stock<C>>>, request: &Request) -> Box<Wait<Stock<C>>>
where
    C: Exclusive<Request>,
{
    let config = pool.target.config.get();
    let deadline = C::context(request).and_then(|context| context.deadline());
    let now = Clock::now();
    let patience = Patience::of_call(now, config.acquire_timeout, deadline);
    Box::new(Wait::new(pool.clone(), config.max_waiting, now, patience))
}

impl<C, Request> Future for ResponseFuture<C, Request>
where
    C: Exclusive<Request>,
{
    type Output = Result<C::Response, C::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // Called -> Start, if it is made anew; else Done. Either way the connection is given back.
                StateProj::Called { mut call, .. } => {
                    let answer = ready!(call.as_mut().poll(cx));
                    let mut again = None;
                    if !*this.again
                        && let Err(error) = &answer
                    {
                        again = C::unprocessed(call, error);
                    }
                    this.state.set(State::Done);
                    let Some(mut request) = again else { return Poll::Ready(answer) };
                    // Its reading of the clock is stale.
                    if let Some(context) = C::context_mut(&mut request) {
                        context.set_stamp(None);
                    }
                    *this.again = true;
                    this.state.set(State::Start { lease: None, request: Some(request) });
                }
                // Waiting -> Called; Done, if there is none to be had
                StateProj::Waiting { wait, request } => {
                    let lent = match ready!(wait.poll(cx)) {
                        Ok(lent) => lent,
                        Err(error) => {
                            this.state.set(State::Done);
                            return Poll::Ready(Err(error.into()));
                        }
                    };
                    let mut lease = Lease::new(this.pool.clone(), lent);
                    // One that has ended meanwhile goes back, and the wait goes on.
                    let Some(connection) = lease.connection() else { continue };
                    let Some(mut request) = request.take() else { continue };
                    let now = Clock::now();
                    wait.got(now);
                    if let Some(context) = C::context_mut(&mut request) {
                        // It has waited: the reading that came with it is stale.
                        context.set_stamp(context.deadline().map(|_| now));
                    }
                    let call = connection.call(request);
                    this.state.set(State::Called { call, lease });
                }
                // Start -> Called, or Waiting
                StateProj::Start { lease, request } => {
                    let Some(request) = request.take() else {
                        this.state.set(State::Done);
                        continue;
                    };
                    let mut lease = lease.take().or_else(|| take_idle(this.pool));
                    let next = match lease.as_mut().and_then(Lease::connection) {
                        Some(connection) => {
                            let call = connection.call(request);
                            lease.map(|lease| State::Called { call, lease })
                        }
                        None => Some(State::Waiting {
                            wait: wait_for(this.pool, &request),
                            request: Some(request),
                        }),
                    };
                    this.state.set(next.unwrap_or(State::Done));
                }
                StateProj::Done => return Poll::Ready(Err(after_the_end().into())),
            }
        }
    }
}

impl<C, Request> fmt::Debug for ResponseFuture<C, Request>
where
    C: Exclusive<Request>,
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
