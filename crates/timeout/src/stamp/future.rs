//! One call with a deadline.

use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use towpath_core::OnReject;

pin_project! {
    /// A call of a [`Deadline`](crate::Deadline): the inner service's answer, or a refusal.
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
        // The call came too late; what is said about it is taken by the first poll.
        Late { answer: Option<A> },
        // The inner service was called.
        Called { #[pin] future: F, reject: R },
    }
}

impl<F, T, E, R: OnReject<T, E>> ResponseFuture<F, T, E, R> {
    #[cold]
    pub(super) fn late(answer: Result<T, R::Error>) -> Self {
        ResponseFuture { state: State::Late { answer: Some(answer) } }
    }

    #[inline]
    pub(super) fn called(future: F, reject: R) -> Self {
        ResponseFuture { state: State::Called { future, reject } }
    }
}

impl<F, T, E, R> Future for ResponseFuture<F, T, E, R>
where
    F: Future<Output = Result<T, E>>,
    R: OnReject<T, E>,
{
    type Output = Result<T, R::Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Late { answer } => answer.take().map_or(Poll::Pending, Poll::Ready),
            StateProj::Called { future, reject } => {
                future.poll(cx).map(|result| result.map_err(|error| reject.pass(error)))
            }
        }
    }
}

impl<F, T, E, R: OnReject<T, E>> fmt::Debug for ResponseFuture<F, T, E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Late { .. } => "late",
            State::Called { .. } => "called",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
