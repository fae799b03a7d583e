//! One call.

use super::{
    event::{Ended, Listen},
    service::State,
};
use crate::calls::{Fit, Outcome};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{
    Clock, EndpointId, Loan, Method,
    context::{self, TraceContext},
};

pin_project! {
    /// A call of an [`Access`](crate::Access): what the inner service answers, or fails with.
    ///
    /// Dropped before that, it is told of as cancelled.
    #[must_use = "futures do nothing unless polled"]
    pub struct AccessFuture<S, Req, H, L>
    where
        S: Service<Req>,
        L: Listen,
    {
        // Dropped first: what is below ends before what is around it.
        #[pin]
        pub(super) future: S::Future,
        pub(super) watch: Option<Watch<H, L>>,
    }
}

/// A call that is told of when it ends. Dropped before that, it says that nobody waited.
pub(super) struct Watch<H, L: Listen> {
    pub(super) state: Loan<State<H, L>>,
    pub(super) start: Instant,
    pub(super) method: Option<Method>,
    pub(super) attempt: u16,
    pub(super) trace: Option<TraceContext>,
    pub(super) endpoint: Option<EndpointId>,
    pub(super) ended: bool,
}

impl<H, L: Listen> Watch<H, L> {
    /// Does something of what is below, with an ear to which endpoint it goes to.
    #[inline]
    pub(super) fn within<R>(&mut self, below: impl FnOnce() -> R) -> R {
        let listen = context::Listen::new();
        let result = below();
        let heard = listen.heard();
        drop(listen);
        if let Some(endpoint) = heard {
            // Who listens further up is to hear it as well.
            context::pick(endpoint);
            self.endpoint = heard;
        }
        result
    }

    fn tell(&mut self, outcome: Outcome, end: Instant) {
        self.ended = true;
        let about = &self.state.about;
        about.listen.ended(&Ended {
            role: about.role,
            method: self.method.as_ref(),
            outcome: outcome.end.as_str(),
            error_type: outcome.error_type(),
            start: self.start,
            took: end.saturating_duration_since(self.start),
            attempt: self.attempt,
            endpoint: self.endpoint,
            trace: self.trace,
        });
    }
}

impl<H, L: Listen> Drop for Watch<H, L> {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Outcome::dropped(), Clock::now());
        }
    }
}

impl<S, Req, H, L> Future for AccessFuture<S, Req, H, L>
where
    S: Service<Req>,
    H: Fit<Req, S::Response, S::Error>,
    L: Listen,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(watch) = this.watch else {
            return this.future.poll(cx);
        };
        let mut polled = watch.within(|| this.future.poll(cx));
        if let Poll::Ready(outcome) = &mut polled {
            let hooks = &watch.state.hooks;
            let told = Outcome::of(hooks.unless_success(outcome.as_ref()).as_ref());
            let end = hooks.end(outcome);
            watch.tell(told, end);
        }
        polled
    }
}

impl<S, Req, H, L> fmt::Debug for AccessFuture<S, Req, H, L>
where
    S: Service<Req>,
    L: Listen,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessFuture").field("watched", &self.watch.is_some()).finish_non_exhaustive()
    }
}
