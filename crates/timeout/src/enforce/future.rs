//! One call with a time limit.

use crate::{FindDeadline, Phase, Span, TimedOut};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    task::coop::{Unconstrained, unconstrained},
    time::{Sleep, sleep_until},
};
use tower_service::Service;
use towpath_core::{Observe, OnReject};

pin_project! {
    /// A call of a [`Timeout`](crate::Timeout): its answer, or what stands for it when time is up.
    ///
    /// # Panics
    /// If it has to wait outside a tokio runtime with a timer. (An answer that is there at the first poll
    /// needs none.)
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Request, D, R, O>
    where
        S: Service<Request>,
    {
        #[pin]
        state: State<S, Request, S::Future>,
        // The budget of tokio's tasks does not apply to it: an inner future that uses all of the budget in
        // every poll would otherwise keep its own timeout from being seen.
        #[pin]
        timer: Option<Unconstrained<Sleep>>,
        span: Span,
        find: D,
        reject: R,
        observe: O,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Request, F> {
        // The deadline had passed when the call came.
        Late,
        // A clone of the inner service is being readied.
        Waiting { inner: S, request: Option<Request>, waited: bool },
        // That clone was called.
        Called { #[pin] future: F },
        // Time was up.
        Over,
    }
}

impl<S, Request, D, R, O> ResponseFuture<S, Request, D, R, O>
where
    S: Service<Request>,
{
    pub(super) fn new(inner: S, request: Request, span: Span, find: D, reject: R, observe: O) -> Self {
        let state = if span.deadline <= span.start {
            State::Late
        } else {
            State::Waiting { inner, request: Some(request), waited: false }
        };
        ResponseFuture { state, timer: None, span, find, reject, observe }
    }
}

impl<S, Request, D, R, O> Future for ResponseFuture<S, Request, D, R, O>
where
    S: Service<Request>,
    D: FindDeadline<Request>,
    R: OnReject<S::Response, S::Error>,
    O: Observe<TimedOut>,
{
    type Output = Result<S::Response, R::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let phase = loop {
            match this.state.as_mut().project() {
                // Late -> Over
                StateProj::Late => break Phase::Late,
                // Waiting -> Called, when the inner service is ready; Over, when time is up
                StateProj::Waiting { inner, request, waited } => match inner.poll_ready(cx) {
                    Poll::Ready(Ok(())) => {
                        let Some(mut request) = request.take() else { return Poll::Pending };
                        if *waited {
                            this.find.waited(&mut request);
                        }
                        let future = inner.call(request);
                        this.state.set(State::Called { future });
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(this.reject.pass(error))),
                    Poll::Pending => {
                        *waited = true;
                        break Phase::Waiting;
                    }
                },
                // Called -> Over, when time is up. An answer that is there counts, however late.
                StateProj::Called { future } => match future.poll(cx) {
                    Poll::Ready(Ok(response)) => return Poll::Ready(Ok(response)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(this.reject.pass(error))),
                    Poll::Pending => break Phase::Called,
                },
                StateProj::Over => return Poll::Pending,
            }
        };
        let allowed = this.span.deadline.saturating_duration_since(this.span.start);
        if phase != Phase::Late {
            // Most calls are answered before they are polled twice: the others pay for a timer.
            if this.timer.is_none() {
                this.timer.set(Some(unconstrained(sleep_until(this.span.deadline))));
            }
            if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                ready!(timer.poll(cx));
            }
        }
        // Here, not when the caller gets round to dropping this future: the inner one gives back what it
        // holds, and a connection below learns that nobody waits any more.
        this.state.set(State::Over);
        let event = TimedOut { phase, allowed };
        this.observe.observe(&event);
        Poll::Ready(this.reject.reject(event.error()))
    }
}

impl<S, Request, D, R, O> fmt::Debug for ResponseFuture<S, Request, D, R, O>
where
    S: Service<Request>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("span", &self.span).finish_non_exhaustive()
    }
}
