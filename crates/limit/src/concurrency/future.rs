//! One call under a limit.

use super::state::State as Core;
use crate::{
    LimitEvent, Refusal,
    gate::{Place, Wait},
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
        // It waits for room. A box: most calls do not, and their futures stay small.
        Waiting { waiting: Option<Box<Waiting<S, Request, R, O>>> },
        // It has room, and a clone of the inner service is being readied.
        Readying { readying: Option<Box<Readying<S, Request, R, O>>> },
        // The inner service was called.
        Called { #[pin] future: F, place: Place<Loan<Core<R, O>>> },
        // It was answered.
        Over,
    }
}

struct Waiting<S, Request, R, O> {
    inner: S,
    request: Request,
    wait: Wait<Loan<Core<R, O>>>,
    patience: Patience,
}

struct Readying<S, Request, R, O> {
    inner: S,
    request: Request,
    place: Place<Loan<Core<R, O>>>,
}

impl<S, Request, R, O> ResponseFuture<S, Request, R, O>
where
    S: Service<Request>,
{
    #[inline]
    pub(super) fn called(future: S::Future, place: Place<Loan<Core<R, O>>>) -> Self {
        ResponseFuture { state: State::Called { future, place } }
    }

    pub(super) fn waiting(
        inner: S,
        request: Request,
        wait: Wait<Loan<Core<R, O>>>,
        patience: Patience,
    ) -> Self {
        let waiting = Some(Box::new(Waiting { inner, request, wait, patience }));
        ResponseFuture { state: State::Waiting { waiting } }
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

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // Called -> Over: the inner call is dropped, then its room is given back.
                StateProj::Called { future, place } => {
                    let outcome = ready!(future.poll(cx));
                    let outcome = outcome.map_err(|error| place.owner().reject.pass(error));
                    this.state.set(State::Over);
                    return Poll::Ready(outcome);
                }
                // Waiting -> Readying, when its turn has come; Refused, when it gives up
                StateProj::Waiting { waiting } => {
                    let Some(waits) = waiting else { return Poll::Pending };
                    let outcome = ready!(waits.wait.poll(cx));
                    let Some(waits) = waiting.take() else { return Poll::Pending };
                    let Waiting { inner, request, wait, patience } = *waits;
                    match outcome {
                        Ok(()) => {
                            let readying =
                                Some(Box::new(Readying { inner, request, place: wait.into_place() }));
                            this.state.set(State::Readying { readying });
                        }
                        Err(gave_up) => {
                            let waited = Clock::now().saturating_duration_since(wait.since());
                            let error = refuse(patience.refusal(gave_up), waited, wait.owner());
                            let outcome = wait.owner().reject.reject(error);
                            this.state.set(State::Over);
                            return Poll::Ready(outcome);
                        }
                    }
                }
                // Readying -> Called; Over, if the inner service fails
                StateProj::Readying { readying } => {
                    let Some(ready) = readying else { return Poll::Pending };
                    let outcome = ready!(ready.inner.poll_ready(cx));
                    let Some(ready) = readying.take() else { return Poll::Pending };
                    let Readying { mut inner, request, place } = *ready;
                    match outcome {
                        Ok(()) => {
                            let future = inner.call(request);
                            this.state.set(State::Called { future, place });
                        }
                        Err(error) => {
                            let outcome = Err(place.owner().reject.pass(error));
                            this.state.set(State::Over);
                            return Poll::Ready(outcome);
                        }
                    }
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
            State::Readying { .. } => "readying",
            State::Called { .. } => "called",
            State::Over => "over",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
