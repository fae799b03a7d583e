//! What the layer makes of the inner service.

use super::{
    ResponseFuture,
    future::Watch,
    hooks::Fit,
    state::{Role, State},
};
use std::{
    fmt,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::Shared;

/// A service whose calls are counted and timed; [`MetricsLayer`](crate::MetricsLayer) makes it.
///
/// It is ready when the inner service is, and passes on what that answers or fails with, as it is.
///
/// # Cancel safety
/// A call that is dropped before it is answered is counted as cancelled.
pub struct Calls<S, H> {
    pub(super) inner: S,
    pub(super) shared: Shared<State<H>>,
}

impl<S, H, Req> Service<Req> for Calls<S, H>
where
    S: Service<Req>,
    H: Fit<Req, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, H>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let State { about, hooks } = &*self.shared;
        if !about.metrics.0.on() {
            return ResponseFuture { future: self.inner.call(request), watch: None };
        }
        let start = hooks.start(&mut request);
        let method = hooks.method(&request);
        let known = about.book.begin(method.map_or(&[], |method| method.as_bytes()));
        let new = if known.is_none() { method.cloned() } else { None };
        let watch = Watch { state: self.shared.lend(), start, known, new, endpoint: None, ended: false };
        let mut watch = watch;
        let future = if about.book.role == Role::Attempt {
            watch.listen(|| self.inner.call(request))
        } else {
            self.inner.call(request)
        };
        ResponseFuture { future, watch: Some(watch) }
    }
}

impl<S: Clone, H> Clone for Calls<S, H> {
    fn clone(&self) -> Self {
        Calls { inner: self.inner.clone(), shared: self.shared.clone() }
    }
}

impl<S: fmt::Debug, H> fmt::Debug for Calls<S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("inner", &self.inner)
            .field("role", &self.shared.about.book.role)
            .field("target", &self.shared.about.book.target)
            .finish_non_exhaustive()
    }
}
