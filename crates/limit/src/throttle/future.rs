//! One call that is sent, or held back.

use super::state::State as Core;
use crate::{LimitEvent, Refusal};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use towpath_core::{Classify, Error, ErrorKind, Loan, Observe, OnReject, Priority, Verdict};

pin_project! {
    /// A call of a [`Throttle`](super::Throttle): its answer, or what stands for it.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, C, R, O> {
        #[pin]
        state: State<F>,
        level: u8,
        loan: Loan<Core<C, R, O>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // It was not sent.
        HeldBack { share: f64, retry_after: Duration },
        // The inner service was called.
        Called { #[pin] future: F },
        // It was answered.
        Over,
    }
}

impl<F, C, R, O> ResponseFuture<F, C, R, O> {
    #[inline]
    pub(super) fn called(future: F, priority: Priority, loan: Loan<Core<C, R, O>>) -> Self {
        ResponseFuture { state: State::Called { future }, level: priority.level(), loan }
    }

    pub(super) fn held_back(share: f64, priority: Priority, loan: Loan<Core<C, R, O>>) -> Self
    where
        O: Observe<LimitEvent>,
    {
        loan.lanes.of(priority).refused();
        let retry_after = loan.lanes.config.get().retry_after(share);
        let (why, waited) = (Refusal::Throttled, Duration::ZERO);
        loan.observe.observe(&LimitEvent::Refused { why, waited, retry_after: Some(retry_after) });
        ResponseFuture { state: State::HeldBack { share, retry_after }, level: priority.level(), loan }
    }
}

impl<F, T, E, C, R, O> Future for ResponseFuture<F, C, R, O>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
    R: OnReject<T, E>,
{
    type Output = Result<T, R::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        match this.state.as_mut().project() {
            // Called -> Over
            StateProj::Called { future } => {
                let outcome = ready!(future.poll(cx));
                this.state.set(State::Over);
                let class = this.loan.classify.classify(outcome.as_ref());
                let lane = this.loan.lanes.lane(*this.level);
                match class.verdict {
                    _ if class.soft => lane.refused(),
                    Verdict::Success | Verdict::Answer | Verdict::Caller => lane.accepted(),
                    Verdict::Failure | Verdict::Nothing => {}
                }
                Poll::Ready(outcome.map_err(|error| this.loan.reject.pass(error)))
            }
            // HeldBack -> Over
            StateProj::HeldBack { share, retry_after } => {
                let percent = *share * 100.0;
                let error = Error::new(ErrorKind::RateLimited)
                    .because(format!(
                        "not sent: the service refuses so many calls that {percent:.0} % are held back"
                    ))
                    .with_retry_after(Some(*retry_after));
                this.state.set(State::Over);
                Poll::Ready(this.loan.reject.reject(error))
            }
            StateProj::Over => Poll::Pending,
        }
    }
}

impl<F, C, R, O> fmt::Debug for ResponseFuture<F, C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::HeldBack { .. } => "held back",
            State::Called { .. } => "called",
            State::Over => "over",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
