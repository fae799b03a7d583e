//! What the layer makes of the inner service.

use super::ResponseFuture;
use crate::{
    Credential,
    event::AttachEvent,
    source::{Found, TokenSource},
};
use std::{
    fmt, mem,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::{Observe, OnReject, Processed};

/// A service whose calls carry a credential; [`AttachLayer`](crate::AttachLayer) makes it.
///
/// It is ready when the inner service is. A call that comes with a credential of its own keeps it.
///
/// # Errors
/// What the source of the tokens fails with, [not processed](towpath_core::Processed::No): most often
/// [`ErrorKind::Unauthenticated`](towpath_core::ErrorKind::Unauthenticated). If the call's deadline passes while it
/// waits for a token, [`ErrorKind::DeadlineExceeded`](towpath_core::ErrorKind::DeadlineExceeded), not processed
/// either. Both as a [`BoxError`](towpath_core::BoxError), unless an [`OnReject`] answers.
///
/// # Cancel safety
/// Dropping the call's future drops the inner future, or the readied service and the wait for the token.
#[derive(Clone)]
pub struct Attach<S, T, R = (), O = ()> {
    pub(super) inner: S,
    pub(super) source: T,
    pub(super) reject: R,
    pub(super) observe: O,
}

impl<S, T, R, O, Req> Service<Req> for Attach<S, T, R, O>
where
    Req: Credential,
    S: Service<Req> + Clone,
    T: TokenSource,
    R: OnReject<S::Response, S::Error> + Clone,
    O: Observe<AttachEvent> + Clone,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S, Req, T::Future, R, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.reject.pass(error))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let reject = self.reject.clone();
        if request.authorization().is_some() {
            return ResponseFuture::called(self.inner.call(request), reject);
        }
        match self.source.token(request.start()) {
            Found::Now(Ok(token)) => {
                request.set_authorization(&token);
                ResponseFuture::called(self.inner.call(request), reject)
            }
            Found::Now(Err(error)) => {
                // The inner service was readied for this call and will not be called: what it reserved goes
                // back with it.
                self.inner = self.inner.clone();
                let error = error.with_processed(Processed::No);
                self.observe.observe(&AttachEvent::NoToken(error.clone()));
                ResponseFuture::refused(error, reject)
            }
            Found::Later(token) => {
                self.observe.observe(&AttachEvent::Waits);
                // The one that was readied waits with the call.
                let fresh = self.inner.clone();
                let inner = mem::replace(&mut self.inner, fresh);
                ResponseFuture::waiting(token, inner, request, reject, self.observe.clone())
            }
        }
    }
}

impl<S: fmt::Debug, T, R, O> fmt::Debug for Attach<S, T, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attach").field("inner", &self.inner).finish_non_exhaustive()
    }
}
