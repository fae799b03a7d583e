//! What the layer makes of the inner service.

use super::{ResponseFuture, state::State};
use crate::LimitEvent;
use std::{
    fmt,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::{CallInfo, Classify, Observe, OnReject, Priority, Shared};

/// A client that holds calls back when the service refuses many; [`ThrottleLayer`](super::ThrottleLayer) makes it.
///
/// This is client-side throttling as "Site Reliability Engineering" (Beyer and others, 2016, chapter 21, "Handling
/// Overload") describes it. A service that refused everything for as long as the window has all its calls back about
/// three windows after it recovered; a shorter window finds out sooner, and forgets sooner.
///
/// It is ready when the inner service is. Whether a call is held back is a matter of chance: as many are as there were
/// too many of late, of the same priority: calls of each are counted by themselves, as that chapter has it for criticality,
/// since a service that sheds by priority accepts those of the highest while it refuses the others. Calls that end in another way than accepted or refused (a lost connection, an answer that nobody
/// waited for) do not count.
///
/// Response and error: those of the inner service, the error boxed unless an [`OnReject`] says otherwise.
///
/// # Errors
/// [`ErrorKind::RateLimited`](towpath_core::ErrorKind::RateLimited) (MCP-W-104), [not
/// processed](towpath_core::Processed::No), of this side: so a retry does not try it on the spot, and a breaker does not
/// count it. As a [`BoxError`](towpath_core::BoxError), unless an [`OnReject`] answers in its place.
///
/// # Cancel safety
/// A call that is dropped does not count.
pub struct Throttle<S, I, C, R = (), O = ()> {
    pub(super) inner: S,
    pub(super) info: I,
    pub(super) shared: Shared<State<C, R, O>>,
}

impl<S: Clone, I: Clone, C, R, O> Clone for Throttle<S, I, C, R, O> {
    fn clone(&self) -> Self {
        Throttle { inner: self.inner.clone(), info: self.info.clone(), shared: self.shared.clone() }
    }
}

impl<S, I, C, R, O, Request> Service<Request> for Throttle<S, I, C, R, O>
where
    S: Service<Request> + Clone,
    I: CallInfo<Request, S::Response>,
    C: Classify<S::Response, S::Error>,
    R: OnReject<S::Response, S::Error>,
    O: Observe<LimitEvent>,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S::Future, C, R, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.shared.reject.pass(error))
    }

    #[inline(never)]
    fn call(&mut self, mut request: Request) -> Self::Future {
        let priority = self.info.context(&request).map_or(Priority::default(), |context| context.priority());
        let lane = self.shared.lanes.of(priority);
        let share = lane.share(self.info.start(&mut request));
        if share > 0.0 && fastrand::f64() < share {
            // The inner service was readied for this call, and will not be called: what it reserved goes back.
            self.inner = self.inner.clone();
            return ResponseFuture::held_back(share, priority, self.shared.lend());
        }
        ResponseFuture::called(self.inner.call(request), priority, self.shared.lend())
    }
}

impl<S: fmt::Debug, I, C, R, O> fmt::Debug for Throttle<S, I, C, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("inner", &self.inner).finish_non_exhaustive()
    }
}
