//! What the layer makes of the inner service.

use super::{
    config::VerifyConfig,
    future::{Pass, ResponseFuture},
    state::{EXEMPT, Found, RECOGNISED, REFUSED, Slot, State, permitted},
};
use crate::{
    Credential,
    event::{Refusal, VerifyEvent},
    verifier::{Permit, Verify},
};
use std::{
    fmt, mem,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::{Cached, Error, Observe, OnReject, Shared};

/// A service whose callers are known; [`VerifyLayer`](crate::VerifyLayer) makes it.
///
/// It is ready when the inner service is. Calls of methods that are [exempt](VerifyConfig::with_exempt) are passed
/// on as they are; all others have an [`Identity`](towpath_core::Identity) in their extensions when they get there.
///
/// # Errors
/// [`ErrorKind::Unauthenticated`](towpath_core::ErrorKind::Unauthenticated) (MCP-E-007) for a call without a
/// credential, with one that is no bearer token, has expired or is not accepted;
/// [`ErrorKind::PermissionDenied`](towpath_core::ErrorKind::PermissionDenied) (MCP-E-008) for one whose caller may
/// not make it; [`ErrorKind::DeadlineExceeded`](towpath_core::ErrorKind::DeadlineExceeded) if its deadline passes
/// while its credential is verified; whatever else the verifier fails with. All are [not
/// processed](towpath_core::Processed::No), and come as a [`BoxError`](towpath_core::BoxError), unless an
/// [`OnReject`] answers.
///
/// # Cancel safety
/// Dropping the call's future drops the inner future, or the verifier's and the readied service. Nothing is kept of
/// a verification that was given up.
pub struct Verified<S, V, P = (), R = (), O = ()> {
    pub(super) inner: S,
    pub(super) state: Shared<State>,
    pub(super) config: Cached<VerifyConfig>,
    pub(super) verifier: Shared<V>,
    pub(super) permit: P,
    pub(super) reject: R,
    pub(super) observe: O,
    pub(super) slot: Option<Box<Slot>>,
}

impl<S, V, P, R, O, Req> Service<Req> for Verified<S, V, P, R, O>
where
    Req: Credential,
    S: Service<Req> + Clone,
    V: Verify<Req>,
    P: Permit + Clone,
    R: OnReject<S::Response, S::Error> + Clone,
    O: Observe<VerifyEvent> + Clone,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S, Req, V::Future, P, R, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.reject.pass(error))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let config = self.config.get(&self.state.config);
        if !config.exempt().is_empty() && config.exempt().matches(request.method()) {
            self.state.counts.add(EXEMPT, 1);
            return ResponseFuture::called(self.inner.call(request), self.reject.clone());
        }
        match self.state.find(&*self.verifier, config, &mut request, &mut self.slot) {
            Found::Known(identity) => match permitted(&self.permit, config, &identity, &request) {
                Ok(()) => {
                    self.state.counts.add(RECOGNISED, 1);
                    ResponseFuture::called(self.inner.call(request), self.reject.clone())
                }
                Err((refusal, error)) => self.refuse(refusal, error),
            },
            Found::Unknown(asked) => {
                let verdict = self.verifier.verify(&asked.token, &request);
                // The one that was readied waits with the call.
                let fresh = self.inner.clone();
                let inner = mem::replace(&mut self.inner, fresh);
                let pass = Pass {
                    state: self.state.lend(),
                    asked,
                    permit: self.permit.clone(),
                    observe: self.observe.clone(),
                };
                ResponseFuture::verifying(verdict, inner, request, pass, self.reject.clone())
            }
            Found::Refused(refusal, error) => self.refuse(refusal, error),
        }
    }
}

impl<S, V, P, R, O> Verified<S, V, P, R, O> {
    #[cold]
    fn refuse<Req, F>(&mut self, refusal: Refusal, error: Error) -> ResponseFuture<S, Req, F, P, R, O>
    where
        S: Service<Req> + Clone,
        R: Clone,
        O: Observe<VerifyEvent>,
    {
        // The inner service was readied for this call and will not be called: what it reserved goes back with
        // it, or it would be kept for as long as this clone lives.
        self.inner = self.inner.clone();
        self.state.counts.add(REFUSED, 1);
        self.observe.observe(&VerifyEvent::Refused(refusal, error.clone()));
        ResponseFuture::refused(error, self.reject.clone())
    }
}

/// A clone is for another connection: it has its own caller to remember.
impl<S: Clone, V, P: Clone, R: Clone, O: Clone> Clone for Verified<S, V, P, R, O> {
    fn clone(&self) -> Self {
        Verified {
            inner: self.inner.clone(),
            state: self.state.clone(),
            config: self.config.clone(),
            verifier: self.verifier.clone(),
            permit: self.permit.clone(),
            reject: self.reject.clone(),
            observe: self.observe.clone(),
            slot: None,
        }
    }
}

impl<S: fmt::Debug, V, P, R, O> fmt::Debug for Verified<S, V, P, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("inner", &self.inner).finish_non_exhaustive()
    }
}
