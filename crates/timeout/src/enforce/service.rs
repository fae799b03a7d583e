//! What the layer makes of the inner service.

use super::ResponseFuture;
use crate::{FindDeadline, TimedOut, TimeoutConfig};
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
pub struct Timeout<S, D = (), R = (), O = ()> {
    pub(super) inner: S,
    pub(super) config: TimeoutConfig,
    pub(super) find: D,
    pub(super) reject: R,
    pub(super) observe: O,
}

impl<S, D, R, O, Request> Service<Request> for Timeout<S, D, R, O>
where
    S: Service<Request> + Clone,
    D: FindDeadline<Request> + Clone,
    R: OnReject<S::Response, S::Error> + Clone,
    O: Observe<TimedOut> + Clone,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S, Request, D, R, O>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let span = self.find.begin(&mut request, self.config.timeout());
        let (find, reject, observe) = (self.find.clone(), self.reject.clone(), self.observe.clone());
        ResponseFuture::new(self.inner.clone(), request, span, find, reject, observe)
    }
}
