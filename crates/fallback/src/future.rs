//! One call, and what answers if it fails.

use crate::{FellBack, Mark, Substitute, When, plan::Plan};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;
use towpath_core::{BoxError, Class, Classify, Loan, Observe};

pin_project! {
    /// A call of a [`Fallback`](crate::Fallback).
    ///
    /// # Panics
    /// If a fallback that takes its time has to wait for the deadline outside a tokio runtime with a timer.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, A, C, W, M, O>
    where
        S: Service<Req>,
        A: Substitute<Req, S::Response, S::Error>,
    {
        #[pin]
        state: State<S, Req, S::Future, A::Future, Result<S::Response, S::Error>>,
        // Until the outcome is known.
        kept: Option<A::Kept>,
        // Of the whole call; only where the fallback may take its time.
        deadline: Option<Instant>,
        plan: Loan<Plan<A, C, W, M, O>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, F, A, R> {
        // The inner service has failed to be ready; a fresh clone of it is being readied.
        Readying { fresh: Box<Fresh<S, Req>> },
        // The inner service was called.
        Called { #[pin] future: F },
        // It has failed, and an answer is being made. Boxed: a call that succeeds need not carry it about.
        Answering { answering: Pin<Box<Answering<A, R>>> },
        // The caller has an answer.
        Over,
    }
}

struct Fresh<S, Req> {
    service: S,
    request: Option<Req>,
}

pin_project! {
    struct Answering<A, R> {
        #[pin]
        answer: A,
        #[pin]
        timer: Option<Sleep>,
        class: Class,
        // What the caller gets if there is no answer.
        outcome: Option<R>,
    }
}

/// What a call has failed with, and what that means.
type Failed<Res, Err> = (Result<Res, Err>, Class);

impl<S, Req, A, C, W, M, O> ResponseFuture<S, Req, A, C, W, M, O>
where
    S: Service<Req>,
    A: Substitute<Req, S::Response, S::Error>,
{
    #[inline]
    pub(crate) fn called(
        future: S::Future,
        kept: A::Kept,
        deadline: Option<Instant>,
        plan: Loan<Plan<A, C, W, M, O>>,
    ) -> Self {
        ResponseFuture { state: State::Called { future }, kept: Some(kept), deadline, plan }
    }

    #[cold]
    pub(crate) fn readying(
        service: S,
        request: Req,
        kept: A::Kept,
        deadline: Option<Instant>,
        plan: Loan<Plan<A, C, W, M, O>>,
    ) -> Self {
        let fresh = Box::new(Fresh { service, request: Some(request) });
        ResponseFuture { state: State::Readying { fresh }, kept: Some(kept), deadline, plan }
    }
}

impl<S, Req, A, C, W, M, O> Future for ResponseFuture<S, Req, A, C, W, M, O>
where
    S: Service<Req, Error: Into<BoxError>>,
    A: Substitute<Req, S::Response, S::Error>,
    C: Classify<S::Response, S::Error>,
    W: When<S::Response, S::Error>,
    M: Mark<S::Response>,
    O: Observe<FellBack>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        // Called, and a good answer: what nearly all calls come to. Nothing else is looked at on the way.
        let StateProj::Called { future } = this.state.project() else { return self.poll_on(None, cx) };
        let outcome = ready!(future.poll(cx));
        match this.plan.pass(&outcome, this.kept) {
            Ok(()) => Poll::Ready(outcome),
            Err(class) => self.poll_on(Some((outcome, class)), cx),
        }
    }
}

impl<S, Req, A, C, W, M, O> ResponseFuture<S, Req, A, C, W, M, O>
where
    S: Service<Req, Error: Into<BoxError>>,
    A: Substitute<Req, S::Response, S::Error>,
    C: Classify<S::Response, S::Error>,
    W: When<S::Response, S::Error>,
    M: Mark<S::Response>,
    O: Observe<FellBack>,
{
    /// Everything else; `failed` is what a call was just found to have failed with.
    #[cold]
    fn poll_on(
        self: Pin<&mut Self>,
        mut failed: Option<Failed<S::Response, S::Error>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, S::Error>> {
        let mut this = self.project();
        loop {
            if let Some((outcome, class)) = failed.take() {
                match this.plan.answer(&outcome, &class, this.kept) {
                    Some(answer) => {
                        let answering =
                            Box::pin(Answering { answer, timer: None, class, outcome: Some(outcome) });
                        this.state.set(State::Answering { answering });
                    }
                    None => {
                        this.state.set(State::Over);
                        return Poll::Ready(outcome);
                    }
                }
            }
            let outcome = match this.state.as_mut().project() {
                // Readying -> Called, when it is ready; Answering or Over, when it fails
                StateProj::Readying { fresh } => match ready!(fresh.service.poll_ready(cx)) {
                    Ok(()) => {
                        let Some(request) = fresh.request.take() else { return Poll::Pending };
                        let future = fresh.service.call(request);
                        this.state.set(State::Called { future });
                        continue;
                    }
                    Err(error) => Err(error),
                },
                // Called -> Answering, when it fails and that is to be answered
                StateProj::Called { future } => ready!(future.poll(cx)),
                // Answering -> Over, when there is an answer, or none, or no more time
                StateProj::Answering { answering } => {
                    let mut answering = answering.as_mut().project();
                    let answer = match answering.answer.poll(cx) {
                        Poll::Ready(answer) => Some(answer),
                        Poll::Pending => {
                            let Some(deadline) = *this.deadline else { return Poll::Pending };
                            if answering.timer.is_none() {
                                answering.timer.set(Some(sleep_until(deadline)));
                            }
                            let Some(timer) = answering.timer.as_mut().as_pin_mut() else {
                                return Poll::Pending;
                            };
                            ready!(timer.poll(cx));
                            None
                        }
                    };
                    let Some(outcome) = answering.outcome.take() else { return Poll::Pending };
                    let class = *answering.class;
                    // What is given up is given up before anybody is told.
                    this.state.set(State::Over);
                    return Poll::Ready(this.plan.settle(answer, outcome, class));
                }
                StateProj::Over => return Poll::Pending,
            };
            match this.plan.pass(&outcome, this.kept) {
                Ok(()) => {
                    this.state.set(State::Over);
                    return Poll::Ready(outcome);
                }
                Err(class) => failed = Some((outcome, class)),
            }
        }
    }
}

impl<S, Req, A, C, W, M, O> fmt::Debug for ResponseFuture<S, Req, A, C, W, M, O>
where
    S: Service<Req>,
    A: Substitute<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
