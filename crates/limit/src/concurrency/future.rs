//! One call under a limit.

use super::state::State as Core;
use crate::{
    LimitEvent, Refusal,
    gate::{Entry, Left, Place},
    refuse::Patience,
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tower_service::Service;
use towpath_core::{Clock, Error, Loan, Observe, OnReject};

type Waits<S, Request, R, O> = Box<Entry<S, Request, Loan<Core<R, O>>>>;

pin_project! {
    /// A call of a [`ConcurrencyLimit`](super::ConcurrencyLimit): its answer, or what stands for it.
    ///
    /// # Panics
    /// If it has to wait outside a tokio runtime with a timer. (One that finds room needs none.)
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Request, R, O>
    where
        S: Service<Request>,
    {
        #[pin]
        state: State<S, Request, S::Future, R, O>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Request, F, R, O> {
        // It was refused when it came.
        Refused { error: Option<Error>, loan: Loan<Core<R, O>> },
        // It waits for room, then for the inner service. A box: most calls do not, and their futures stay small.
        Waiting { entry: Option<Waits<S, Request, R, O>>, patience: Patience },
        // The inner service was called.
        Called { #[pin] future: F, place: Place<Loan<Core<R, O>>> },
        // It was answered.
        Over,
    }
}

impl<S, Request, R, O> ResponseFuture<S, Request, R, O>
where
    S: Service<Request>,
{
    #[inline]
    pub(super) fn called(future: S::Future, place: Place<Loan<Core<R, O>>>) -> Self {
        ResponseFuture { state: State::Called { future, place } }
    }

    pub(super) fn waiting(entry: Waits<S, Request, R, O>, patience: Patience) -> Self {
        ResponseFuture { state: State::Waiting { entry: Some(entry), patience } }
    }

    pub(super) fn refused(why: Refusal, waited: Duration, loan: Loan<Core<R, O>>) -> Self
    where
        O: Observe<LimitEvent>,
    {
        let error = Some(refuse(why, waited, &loan));
        ResponseFuture { state: State::Refused { error, loan } }
    }
}

fn refuse<R, O: Observe<LimitEvent>>(why: Refusal, waited: Duration, loan: &Core<R, O>) -> Error {
    let no_room = loan.core.refuse(why, waited);
    loan.observe.observe(&no_room.event());
    no_room.error()
}

impl<S, Request, R, O> Future for ResponseFuture<S, Request, R, O>
where
    S: Service<Request>,
    R: OnReject<S::Response, S::Error>,
    O: Observe<LimitEvent>,
{
    type Output = Result<S::Response, R::Error>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        // Called -> Over: the inner call is dropped, then its room is given back. What nearly all calls come to.
        let StateProj::Called { future, place } = this.state.as_mut().project() else {
            return self.poll_on(cx);
        };
        let outcome = ready!(future.poll(cx));
        let outcome = outcome.map_err(|error| place.owner().reject.pass(error));
        this.state.set(State::Over);
        Poll::Ready(outcome)
    }
}

impl<S, Request, R, O> ResponseFuture<S, Request, R, O>
where
    S: Service<Request>,
    R: OnReject<S::Response, S::Error>,
    O: Observe<LimitEvent>,
{
    /// A poll of a call that was not called at once.
    #[cold]
    fn poll_on(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, R::Error>> {
        loop {
            let mut this = self.as_mut().project();
            match this.state.as_mut().project() {
                StateProj::Called { .. } => return self.poll(cx),
                // Waiting -> Called; Over, when it gives up or the inner service fails
                StateProj::Waiting { entry, patience } => {
                    let Some(waits) = entry else { return Poll::Pending };
                    let outcome = ready!(waits.poll(cx));
                    let Some(waits) = entry.take() else { return Poll::Pending };
                    let outcome = match outcome {
                        Ok(()) => {
                            let (mut inner, request, place) = waits.into_parts();
                            let future = inner.call(request);
                            this.state.set(State::Called { future, place });
                            continue;
                        }
                        Err(Left::GaveUp(gave_up)) => {
                            let waited = Clock::now().saturating_duration_since(waits.since());
                            let error = refuse(patience.refusal(gave_up), waited, waits.owner());
                            waits.owner().reject.reject(error)
                        }
                        Err(Left::Inner(error)) => Err(waits.owner().reject.pass(error)),
                    };
                    this.state.set(State::Over);
                    return Poll::Ready(outcome);
                }
                // Refused -> Over
                StateProj::Refused { error, loan } => {
                    let Some(error) = error.take() else { return Poll::Pending };
                    let outcome = loan.reject.reject(error);
                    this.state.set(State::Over);
                    return Poll::Ready(outcome);
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
