//! What the layer makes of the inner service.

use super::ResponseFuture;
use crate::{TimedOut, own::Own};
use std::task::{Context, Poll};
use tower_service::Service;
use towpath_core::{Clock, HasContext, Observe, OnReject};

/// A service whose calls have a deadline; [`DeadlineLayer`](crate::DeadlineLayer) makes it.
///
/// It is ready when the inner service is. A request that can have no context is passed on as it is.
///
/// # Errors
/// [`ErrorKind::DeadlineExceeded`](towpath_core::ErrorKind::DeadlineExceeded) and
/// [not processed](towpath_core::Processed::No) if the deadline has passed already, as a
/// [`BoxError`](towpath_core::BoxError), unless an [`OnReject`] answers in its place. The inner service is
/// not called then.
#[derive(Clone, Debug)]
pub struct Deadline<S, R = (), O = ()> {
    pub(super) inner: S,
    pub(super) own: Option<Own>,
    pub(super) reject: R,
    pub(super) observe: O,
}

impl<S, R, O, Request> Service<Request> for Deadline<S, R, O>
where
    Request: HasContext,
    S: Service<Request> + Clone,
    R: OnReject<S::Response, S::Error> + Clone,
    O: Observe<TimedOut>,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S::Future, S::Response, S::Error, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.reject.pass(error))
    }

    #[inline]
    fn call(&mut self, mut request: Request) -> Self::Future {
        let now = Clock::start(&mut request);
        let deadline = request.context_mut().and_then(|context| match &mut self.own {
            Some(own) => Some(context.tighten_deadline(now + own.timeout())),
            None => context.deadline(),
        });
        if deadline.is_some_and(|deadline| deadline <= now) {
            return self.refuse();
        }
        ResponseFuture::called(self.inner.call(request), self.reject.clone())
    }
}

impl<S: Clone, R, O: Observe<TimedOut>> Deadline<S, R, O> {
    #[cold]
    fn refuse<F, T, E>(&mut self) -> ResponseFuture<F, T, E, R>
    where
        R: OnReject<T, E>,
    {
        // The inner service was readied for this call and will not be called: what it reserved goes
        // back with it, or it would be kept for as long as this clone lives.
        self.inner = self.inner.clone();
        let event = TimedOut::late();
        self.observe.observe(&event);
        ResponseFuture::late(self.reject.reject(event.error()))
    }
}
