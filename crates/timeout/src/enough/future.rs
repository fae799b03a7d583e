//! One call that may be observed.

use super::state::State as Known;
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::time::Instant;
use towpath_core::{Clock, Loan, OnReject};

pin_project! {
    /// A call of an [`EnoughTime`](crate::EnoughTime): the inner service's answer, or a refusal.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, T, E, R>
    where
        R: OnReject<T, E>,
    {
        #[pin]
        state: State<F, Result<T, R::Error>, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, A, R> {
        // There was too little time; what is said about it is taken by the first poll.
        Refused { answer: Option<A> },
        // The inner service was called.
        Called { #[pin] future: F, reject: R, watch: Option<Watch> },
    }
}

/// A call that is observed.
#[derive(Debug)]
pub(super) struct Watch {
    known: Loan<Known>,
    slot: usize,
    start: Instant,
    deadline: Option<Instant>,
    over: bool,
}

impl Watch {
    pub(super) fn new(known: Loan<Known>, slot: usize, start: Instant, deadline: Option<Instant>) -> Self {
        Watch { known, slot, start, deadline, over: false }
    }

    fn end(&mut self, success: bool) {
        self.over = true;
        // What failed fast says nothing of how long the work takes.
        if success {
            let now = Clock::now();
            self.known.observe(self.slot, now.saturating_duration_since(self.start), now);
        }
    }
}

impl Drop for Watch {
    /// Given up at its deadline, it would have taken longer still: without it, only those that were fast
    /// enough would be seen. How much longer nobody knows; a quarter is enough to tell that such a deadline
    /// does not do. Given up earlier, it says nothing.
    fn drop(&mut self) {
        if let (false, Some(deadline)) = (self.over, self.deadline) {
            let now = Clock::now();
            if now >= deadline {
                let took = now.saturating_duration_since(self.start);
                self.known.observe(self.slot, took + took / 4, now);
            }
        }
    }
}

impl<F, T, E, R: OnReject<T, E>> ResponseFuture<F, T, E, R> {
    pub(super) fn refused(answer: Result<T, R::Error>) -> Self {
        ResponseFuture { state: State::Refused { answer: Some(answer) } }
    }

    pub(super) fn called(future: F, reject: R, watch: Option<Watch>) -> Self {
        ResponseFuture { state: State::Called { future, reject, watch } }
    }
}

impl<F, T, E, R> Future for ResponseFuture<F, T, E, R>
where
    F: Future<Output = Result<T, E>>,
    R: OnReject<T, E>,
{
    type Output = Result<T, R::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Refused { answer } => answer.take().map_or(Poll::Pending, Poll::Ready),
            StateProj::Called { future, reject, watch } => {
                let outcome = ready!(future.poll(cx));
                if let Some(watch) = watch {
                    watch.end(outcome.is_ok());
                }
                Poll::Ready(outcome.map_err(|error| reject.pass(error)))
            }
        }
    }
}

impl<F, T, E, R: OnReject<T, E>> fmt::Debug for ResponseFuture<F, T, E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Refused { .. } => "refused",
            State::Called { .. } => "called",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
