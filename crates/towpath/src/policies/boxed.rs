//! Errors of any kind as one.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::BoxError;

/// A service whose errors are [`BoxError`]s, as policies want them.
///
/// As tower's `MapErr` does, but for where its future is put together: in place, as all layers have it here.
#[derive(Clone, Debug)]
pub struct Boxed<S>(pub(crate) S);

impl<S, Req> Service<Req> for Boxed<S>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxedFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        BoxedFuture { call: self.0.call(request) }
    }
}

pin_project! {
    /// A call of a [`Boxed`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct BoxedFuture<F> {
        #[pin]
        call: F,
    }
}

impl<F, T, E> Future for BoxedFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().call.poll(cx).map_err(Into::into)
    }
}
