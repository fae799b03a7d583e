//! One call with a time limit.

use crate::{FindDeadline, Limit, Phase, Reach, Rest, Span, TimedOut};
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
    pub struct ResponseFuture<S, Request, D, R, O, W>
    where
        S: Service<Request>,
    {
        #[pin]
        state: State<S, Request, S::Future>,
        // The budget of tokio's tasks does not apply to it: an inner future that uses all of the budget in
        // every poll would otherwise keep its own timeout from being seen.
        #[pin]
        timer: Option<Unconstrained<Sleep>>,
        bound: Bound<W>,
        find: D,
        reject: R,
        observe: O,
    }
}

/// The limit of one call.
#[derive(Debug)]
pub(super) struct Bound<W> {
    pub(super) span: Span,
    pub(super) limit: Limit,
    pub(super) reach: W,
}

impl<W> Bound<W> {
    fn event(&self, phase: Phase) -> TimedOut {
        if phase == Phase::Late {
            return TimedOut::late();
        }
        let allowed = self.span.deadline.saturating_duration_since(self.span.start);
        TimedOut { phase, allowed, limit: self.limit }
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

impl<S, Request, D, R, O, W> ResponseFuture<S, Request, D, R, O, W>
where
    S: Service<Request>,
{
    pub(super) fn new(inner: S, request: Request, bound: Bound<W>, find: D, reject: R, observe: O) -> Self {
        let state = if bound.span.deadline <= bound.span.start {
            State::Late
        } else {
            State::Waiting { inner, request: Some(request), waited: false }
        };
        ResponseFuture { state, timer: None, bound, find, reject, observe }
    }
}

impl<S, Request, D, R, O, W> Future for ResponseFuture<S, Request, D, R, O, W>
where
    S: Service<Request>,
    D: FindDeadline<Request>,
    R: OnReject<S::Response, S::Error>,
    O: Observe<TimedOut> + Clone,
    W: Reach<S::Response, O>,
{
    type Output = Result<W::Response, R::Error>;

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
                    Poll::Ready(Ok(response)) => {
                        let rest = || {
                            let event = this.bound.event(Phase::Answering);
                            let deadline = this.bound.span.deadline;
                            Some(Rest { deadline, event, observe: this.observe.clone() })
                        };
                        return Poll::Ready(Ok(this.bound.reach.answered(response, rest)));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(this.reject.pass(error))),
                    Poll::Pending => break Phase::Called,
                },
                StateProj::Over => return Poll::Pending,
            }
        };
        if phase != Phase::Late {
            // Most calls are answered before they are polled twice: the others pay for a timer.
            if this.timer.is_none() {
                this.timer.set(Some(unconstrained(sleep_until(this.bound.span.deadline))));
            }
            if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                ready!(timer.poll(cx));
            }
        }
        // Here, not when the caller gets round to dropping this future: the inner one gives back what it
        // holds, and a connection below learns that nobody waits any more.
        this.state.set(State::Over);
        let event = this.bound.event(phase);
        this.observe.observe(&event);
        let answer = this.reject.reject(event.error());
        Poll::Ready(answer.map(|response| this.bound.reach.answered(response, || None)))
    }
}

impl<S, Request, D, R, O, W> fmt::Debug for ResponseFuture<S, Request, D, R, O, W>
where
    S: Service<Request>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("span", &self.bound.span).finish_non_exhaustive()
    }
}
