//! One call under a rate.

use super::state::{Booking, Core, State as Shared};
use crate::{LimitEvent, Refusal};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    task::coop::{Unconstrained, unconstrained},
    time::{Instant, Sleep, sleep_until},
};
use tower_service::Service;
use towpath_core::{Error, ErrorKind, Loan, Observe, OnReject};

pin_project! {
    /// A call of a [`RateLimit`](super::RateLimit): its answer, or what stands for it.
    ///
    /// # Panics
    /// If it has to wait outside a tokio runtime with a timer. (One that conforms needs none.)
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Request, R, O>
    where
        S: Service<Request>,
    {
        #[pin]
        state: State<S, Request, S::Future>,
        loan: Loan<Shared<R, O>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Request, F> {
        // It came above the rate.
        Refused { retry_after: Duration },
        // It waits for its time, then for the inner service. A box: most calls do not, and their futures stay small.
        Waiting { waiting: Option<Box<Waiting<S, Request>>> },
        // The inner service was called.
        Called { #[pin] future: F },
        // It was answered.
        Over,
    }
}

struct Waiting<S, Request> {
    inner: S,
    request: Request,
    /// Its place in the rate, until its time has come.
    booked: Option<Booked>,
    // The budget of tokio's tasks does not apply to it, as to no time-out.
    timer: Pin<Box<Unconstrained<Sleep>>>,
}

/// A place ahead of its time; dropped, it is given back.
struct Booked {
    core: Arc<Core>,
    booking: Option<Booking>,
}

impl Drop for Booked {
    fn drop(&mut self) {
        if let Some(booking) = self.booking.take() {
            self.core.undo(booking);
        }
    }
}

impl<S, Request, R, O> ResponseFuture<S, Request, R, O>
where
    S: Service<Request>,
{
    #[inline]
    pub(super) fn called(future: S::Future, loan: Loan<Shared<R, O>>) -> Self {
        ResponseFuture { state: State::Called { future }, loan }
    }

    pub(super) fn refused(retry_after: Duration, loan: Loan<Shared<R, O>>) -> Self
    where
        O: Observe<LimitEvent>,
    {
        loan.core.count_refusal();
        let (why, waited, after) = (Refusal::Rate, Duration::ZERO, Some(retry_after));
        loan.observe.observe(&LimitEvent::Refused { why, waited, retry_after: after });
        ResponseFuture { state: State::Refused { retry_after }, loan }
    }

    pub(super) fn waiting(
        inner: S,
        request: Request,
        until: Instant,
        booking: Booking,
        loan: Loan<Shared<R, O>>,
    ) -> Self
    where
        O: Observe<LimitEvent>,
    {
        loan.observe.observe(&LimitEvent::Queued { waiting: 0 });
        let booked = Some(Booked { core: loan.core.clone(), booking: Some(booking) });
        let timer = Box::pin(unconstrained(sleep_until(until)));
        let waiting = Some(Box::new(Waiting { inner, request, booked, timer }));
        ResponseFuture { state: State::Waiting { waiting }, loan }
    }
}

impl<S, Request, R, O> Future for ResponseFuture<S, Request, R, O>
where
    S: Service<Request>,
    R: OnReject<S::Response, S::Error>,
{
    type Output = Result<S::Response, R::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // Called -> Over
                StateProj::Called { future } => {
                    let outcome = ready!(future.poll(cx));
                    this.state.set(State::Over);
                    return Poll::Ready(outcome.map_err(|error| this.loan.reject.pass(error)));
                }
                // Waiting -> Called, when its time has come and the inner service is ready; Over, if that fails
                StateProj::Waiting { waiting } => {
                    let Some(waits) = waiting else { return Poll::Pending };
                    if waits.booked.is_some() {
                        ready!(waits.timer.as_mut().poll(cx));
                        // The place is used: there is nothing to give back.
                        waits.booked.take().into_iter().for_each(|mut booked| booked.booking = None);
                    }
                    if let Err(error) = ready!(waits.inner.poll_ready(cx)) {
                        this.state.set(State::Over);
                        return Poll::Ready(Err(this.loan.reject.pass(error)));
                    }
                    let Some(waits) = waiting.take() else { return Poll::Pending };
                    let Waiting { mut inner, request, .. } = *waits;
                    let future = inner.call(request);
                    this.state.set(State::Called { future });
                }
                // Refused -> Over
                StateProj::Refused { retry_after } => {
                    let error = Error::new(ErrorKind::RateLimited).with_retry_after(Some(*retry_after));
                    this.state.set(State::Over);
                    return Poll::Ready(this.loan.reject.reject(error));
                }
                StateProj::Over => return Poll::Pending,
            }
        }
    }
}

impl<S, Request, R, O> fmt::Debug for ResponseFuture<S, Request, R, O>
where
    S: Service<Request>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Refused { .. } => "refused",
            State::Waiting { .. } => "waiting",
            State::Called { .. } => "called",
            State::Over => "over",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
