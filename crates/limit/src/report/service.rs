//! The service that counts what is in work.

use super::ResponseFuture;
use std::{
    sync::{Arc, atomic::AtomicU32},
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::{Clock, Request, Response};

/// A service of which each answer says how much is in work: see [`ReportLoadLayer`](super::ReportLoadLayer). It is ready when
/// the inner one is, and adds no wait and no error.
#[derive(Clone, Debug)]
pub struct ReportLoad<S> {
    pub(super) inner: S,
    pub(super) in_work: Arc<AtomicU32>,
}

impl<S, A, B> Service<Request<A>> for ReportLoad<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<A>) -> Self::Future {
        let arrived = request.context().stamp();
        let waited = arrived.map(|at| Clock::now().saturating_duration_since(at)).unwrap_or_default();
        // Counted once the inner service has taken the call: one that panics counts nothing.
        let inner = self.inner.call(request);
        ResponseFuture::new(inner, waited, self.in_work.clone())
    }
}
