//! Calls and attempts under way.

use super::{
    notes::{self, Call, Mark, Outcome},
    recorder::Inner,
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use towpath_core::{
    BoxError, Brief, Clock, Loan, Response,
    context::{Listen, pick},
};

pin_project! {
    /// The answer of a recorded call.
    ///
    /// Cancel safety: dropping it gives the call up, which is counted.
    #[must_use = "futures do nothing unless polled"]
    pub struct CallFuture<F> {
        #[pin]
        inner: F,
        watch: Watch,
    }
}

/// Counts the call when it ends, or as cancelled when it does not.
struct Watch {
    recorder: Loan<Inner>,
    call: Option<Box<Call>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.recorder.cancelled();
            call.over();
        }
    }
}

impl<F> CallFuture<F> {
    #[inline]
    pub(super) fn new(inner: F, recorder: Loan<Inner>, call: Option<Box<Call>>) -> Self {
        CallFuture { inner, watch: Watch { recorder, call } }
    }
}

impl<F, E> Future for CallFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Watch { recorder, call } = this.watch;
        if let Some(call) = call {
            call.called();
        }
        let lent = notes::lend(call);
        let answer = this.inner.poll(cx);
        drop(lent);
        let mut answer = ready!(answer).map_err(Into::into);
        let now = match &mut answer {
            Ok(response) => Clock::end(response),
            Err(_) => Clock::now(),
        };
        if let Some(call) = call.take() {
            recorder.ended(call, now, answer.as_ref());
        }
        Poll::Ready(answer)
    }
}

pin_project! {
    /// The answer of a recorded attempt.
    ///
    /// Cancel safety: dropping it gives the attempt up, which is noted.
    #[must_use = "futures do nothing unless polled"]
    pub struct AttemptFuture<F> {
        #[pin]
        inner: F,
        recorder: Loan<Inner>,
        mark: Mark,
    }
}

impl<F> AttemptFuture<F> {
    pub(super) fn new(inner: F, recorder: Loan<Inner>, mark: Mark) -> Self {
        AttemptFuture { inner, recorder, mark }
    }
}

impl<F, E> Future for AttemptFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let listen = Listen::new();
        let answer = this.inner.poll(cx);
        let heard = listen.heard();
        drop(listen);
        if let Some(endpoint) = heard {
            this.mark.goes_to(endpoint);
            pick(endpoint);
        }
        let mut answer = ready!(answer).map_err(Into::into);
        this.recorder.attempted();
        match &mut answer {
            Ok(response) if !response.is_fault() => this.mark.end(Clock::end(response), Outcome::Answered),
            Ok(response) => {
                let code = Brief::from_response(response).ok().map(|brief| brief.code);
                this.mark.end(Clock::end(response), Outcome::Fault(code));
            }
            Err(error) => {
                this.mark.choice(|picked| this.recorder.choice(picked));
                this.mark.end(Clock::now(), Outcome::Failed(error.to_string().into()));
            }
        }
        Poll::Ready(answer)
    }
}

impl<F> fmt::Debug for CallFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallFuture")
    }
}

impl<F> fmt::Debug for AttemptFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptFuture")
    }
}
