//! What the layer makes of the inner service.

use super::{ResponseFuture, future::Bound};
use crate::{FindDeadline, FirstResponse, Limit, Reach, TimedOut, own::Own};
use std::task::{Context, Poll};
use tower_service::Service;
use towpath_core::{Observe, OnReject};

/// A service whose calls have a time limit; [`TimeoutLayer`](crate::TimeoutLayer) makes it.
///
/// It is always ready: a clone of the inner service is readied in the call's future, so that the limit
/// covers the wait for a permit or a connection as well. It holds nothing between calls. The price is that
/// the inner service must be `Clone`, and that a `poll_ready` of this one tells nothing about its load.
///
/// # Errors
/// [`ErrorKind::DeadlineExceeded`](towpath_core::ErrorKind::DeadlineExceeded) as a
/// [`BoxError`](towpath_core::BoxError), unless an [`OnReject`] answers in its place. The call was
/// [not processed](towpath_core::Processed::No) if its deadline had passed when it came or while the inner
/// service was not ready; otherwise that is [unknown](towpath_core::Processed::Unknown).
///
/// # Cancel safety
/// Dropping the call's future drops the inner future, or the readied clone, and the timer with it.
#[derive(Clone, Debug)]
pub struct Timeout<S, D = (), R = (), O = (), W = FirstResponse> {
    pub(super) inner: S,
    pub(super) own: Own,
    pub(super) limit: Limit,
    pub(super) find: D,
    pub(super) reject: R,
    pub(super) observe: O,
    pub(super) reach: W,
}

impl<S, D, R, O, W, Request> Service<Request> for Timeout<S, D, R, O, W>
where
    S: Service<Request> + Clone,
    D: FindDeadline<Request> + Clone,
    R: OnReject<S::Response, S::Error> + Clone,
    O: Observe<TimedOut> + Clone,
    W: Reach<S::Response, O> + Clone,
{
    type Response = W::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S, Request, D, R, O, W>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let own = self.own.timeout();
        let span = self.find.begin(&mut request, own);
        let limit = if span.deadline < span.start + own { Limit::Inherited } else { self.limit };
        let (find, reject, observe) = (self.find.clone(), self.reject.clone(), self.observe.clone());
        let bound = Bound { span, limit, reach: self.reach.clone() };
        ResponseFuture::new(self.inner.clone(), request, bound, find, reject, observe)
    }
}
