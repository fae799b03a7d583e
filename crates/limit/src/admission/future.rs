//! One call that is let in, or not.

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
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{CallInfo, Classify, Clock, Error, Loan, Observe, OnReject, Verdict};

type Waits<S, Request, I, C, R, O> = Box<Entry<S, Request, Loan<Core<I, C, R, O>>>>;

pin_project! {
    /// A call of an [`Admission`](super::Admission): its answer, or what stands for it.
    ///
    /// # Panics
    /// If it has to wait outside a tokio runtime with a timer. (One that finds room needs none.)
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Request, I, C, R, O>
    where
        S: Service<Request>,
    {
        #[pin]
        state: State<S, Request, S::Future, I, C, R, O>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Request, F, I, C, R, O> {
        // It was refused when it came.
        Refused { error: Option<Error>, loan: Loan<Core<I, C, R, O>> },
        // It waits for room, then for the inner service. A box: most calls do not, and their futures stay small.
        Waiting { entry: Option<Waits<S, Request, I, C, R, O>>, patience: Patience, priority: u8 },
        // The inner service was called; `waits`: and did not answer at once.
        Called { #[pin] future: F, place: Place<Loan<Core<I, C, R, O>>>, start: Instant, waits: bool },
        // It was answered.
        Over,
    }
}

impl<S, Request, I, C, R, O> ResponseFuture<S, Request, I, C, R, O>
where
    S: Service<Request>,
{
    #[inline]
    pub(super) fn called(future: S::Future, place: Place<Loan<Core<I, C, R, O>>>, start: Instant) -> Self {
        ResponseFuture { state: State::Called { future, place, start, waits: false } }
    }

    pub(super) fn waiting(entry: Waits<S, Request, I, C, R, O>, patience: Patience, priority: u8) -> Self {
        ResponseFuture { state: State::Waiting { entry: Some(entry), patience, priority } }
    }

    pub(super) fn refused(why: Refusal, priority: u8, now: Instant, loan: Loan<Core<I, C, R, O>>) -> Self
    where
        O: Observe<LimitEvent>,
    {
        let error = Some(refuse(why, priority, Duration::ZERO, now, &loan));
        ResponseFuture { state: State::Refused { error, loan } }
    }
}

fn refuse<I, C, R, O: Observe<LimitEvent>>(
    why: Refusal,
    priority: u8,
    waited: Duration,
    now: Instant,
    state: &Core<I, C, R, O>,
) -> Error {
    let no_room = state.core.refuse(why, priority, waited, now);
    state.observe.observe(&no_room.event());
    no_room.error()
}

impl<S, Request, I, C, R, O> Future for ResponseFuture<S, Request, I, C, R, O>
where
    S: Service<Request>,
    I: CallInfo<Request, S::Response>,
    C: Classify<S::Response, S::Error>,
    R: OnReject<S::Response, S::Error>,
    O: Observe<LimitEvent>,
{
    type Output = Result<S::Response, R::Error>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        // Called -> Over: the inner call is dropped, then its room is given back. What nearly all calls come to.
        let StateProj::Called { future, place, start, waits } = this.state.as_mut().project() else {
            return self.poll_on(cx);
        };
        let Poll::Ready(mut outcome) = future.poll(cx) else {
            *waits = true;
            return Poll::Pending;
        };
        if *waits || outcome.is_err() {
            outcome = measure(outcome, *start, place.owner());
        }
        let outcome = outcome.map_err(|error| place.owner().reject.pass(error));
        this.state.set(State::Over);
        Poll::Ready(outcome)
    }
}

impl<S, Request, I, C, R, O> ResponseFuture<S, Request, I, C, R, O>
where
    S: Service<Request>,
    I: CallInfo<Request, S::Response>,
    C: Classify<S::Response, S::Error>,
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
                StateProj::Waiting { entry, patience, priority } => {
                    let Some(waits) = entry else { return Poll::Pending };
                    let outcome = ready!(waits.poll(cx));
                    let Some(waits) = entry.take() else { return Poll::Pending };
                    let now = Clock::now();
                    let outcome = match outcome {
                        Ok(()) => {
                            let (mut inner, mut request, place) = waits.into_parts();
                            // The reading of the clock that was left in the request is old by now.
                            if let Some(context) = place.owner().info.context_mut(&mut request) {
                                context.set_stamp(Some(now));
                            }
                            let future = inner.call(request);
                            this.state.set(State::Called { future, place, start: now, waits: false });
                            continue;
                        }
                        Err(Left::GaveUp(gave_up)) => {
                            let waited = now.saturating_duration_since(waits.since());
                            let why = patience.refusal(gave_up);
                            let error = refuse(why, *priority, waited, now, waits.owner());
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

/// What an outcome tells of how much the service can take.
#[inline(never)]
fn measure<Request, Res, Err, I, C, R, O>(
    mut outcome: Result<Res, Err>,
    start: Instant,
    state: &Core<I, C, R, O>,
) -> Result<Res, Err>
where
    I: CallInfo<Request, Res>,
    C: Classify<Res, Err>,
    O: Observe<LimitEvent>,
{
    let class = state.classify.classify(outcome.as_ref());
    if class.soft {
        state.core.meter.dropped();
    } else if matches!(class.verdict, Verdict::Success | Verdict::Answer)
        && let Ok(response) = &mut outcome
    {
        state.core.answered(start, state.info.end(response), &state.observe);
    }
    outcome
}

impl<S, Request, I, C, R, O> fmt::Debug for ResponseFuture<S, Request, I, C, R, O>
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
