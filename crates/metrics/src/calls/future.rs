//! One call.

use super::{
    hooks::Fit,
    outcome::Outcome,
    state::{Role, State},
};
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
    context::{self, Listen},
};

pin_project! {
    /// A call of a [`Calls`](crate::Calls): what the inner service answers, or fails with.
    ///
    /// Dropped before that, it is counted as cancelled.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, H>
    where
        S: Service<Req>,
    {
        // Dropped first: what is below ends before what is around it.
        #[pin]
        pub(super) future: S::Future,
        pub(super) watch: Option<Watch<H>>,
    }
}

/// A call that is counted when it ends. Dropped before that, it says that nobody waited.
pub(super) struct Watch<H> {
    pub(super) state: Loan<State<H>>,
    pub(super) start: Instant,
    /// The place of its method.
    pub(super) known: u32,
    /// The method, if it has none yet.
    pub(super) new: Option<Box<Method>>,
    pub(super) endpoint: Option<EndpointId>,
    pub(super) ended: bool,
}

/// The endpoint that was heard of. Who listens further up is to hear it as well.
///
/// Out of line, and nothing to unwind from (of C's kind for that alone): so it is in nobody's way between a call of an inner
/// service and the place where its future is to be.
#[inline(never)]
#[allow(improper_ctypes_definitions)]
pub(super) extern "C" fn heard(listen: Option<Listen>) -> Option<EndpointId> {
    let heard = listen.as_ref()?.heard();
    drop(listen);
    if let Some(endpoint) = heard {
        context::pick(endpoint);
    }
    heard
}

impl<H> Watch<H> {
    #[inline]
    fn count(&mut self, outcome: Outcome, end: Instant) {
        self.ended = true;
        let about = &self.state.about;
        let place = about.place(self.known, self.new.as_deref(), &outcome, self.endpoint);
        about.book.end(place, outcome, end.saturating_duration_since(self.start));
    }
}

impl<H> Drop for Watch<H> {
    #[inline]
    fn drop(&mut self) {
        if !self.ended {
            self.count(Outcome::dropped(), Clock::now());
        }
    }
}

impl<S, Req, H> Future for ResponseFuture<S, Req, H>
where
    S: Service<Req>,
    H: Fit<Req, S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(watch) = this.watch else {
            return this.future.poll(cx);
        };
        let listen = (watch.state.about.book.role == Role::Attempt).then(Listen::new);
        let mut polled = this.future.poll(cx);
        if let Some(heard) = heard(listen) {
            watch.endpoint = Some(heard);
        }
        if let Poll::Ready(outcome) = &mut polled {
            let hooks = &watch.state.hooks;
            let counted = Outcome::of(hooks.unless_success(outcome.as_ref()).as_ref());
            let end = hooks.end(outcome);
            watch.count(counted, end);
        }
        polled
    }
}

impl<S, Req, H> fmt::Debug for ResponseFuture<S, Req, H>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("counted", &self.watch.is_some()).finish_non_exhaustive()
    }
}
