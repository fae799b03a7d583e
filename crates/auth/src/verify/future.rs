//! One call whose caller is found out.

use super::state::{Asked, REFUSED, State as Common, VERIFIED, permitted};
use crate::{
    Credential,
    event::{Refusal, VerifyEvent},
    patience::Patience,
    verifier::Permit,
};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;
use towpath_core::{Error, Identity, Loan, Observe, OnReject};

pin_project! {
    /// A call of a [`Verified`](crate::Verified) service: the inner service's answer, or a refusal.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, F, P, R, O>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req, S::Future, F, P, O>,
        reject: R,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, G, F, P, O> {
        // The call is turned away.
        Refused { error: Option<Error> },
        // Its credential is being verified; the inner service is ready.
        Verifying { #[pin] verdict: F, inner: S, request: Option<Req>, pass: Pass<P, O>, patience: Patience },
        // The inner service was called.
        Called { #[pin] future: G },
    }
}

/// What a call needs to get past the verdict.
pub(super) struct Pass<P, O> {
    pub(super) state: Loan<Common>,
    pub(super) asked: Asked,
    pub(super) permit: P,
    pub(super) observe: O,
}

impl<P: Permit, O: Observe<VerifyEvent>> Pass<P, O> {
    fn decide<Req: Credential>(
        &self,
        verdict: Result<Identity, Error>,
        request: &mut Req,
    ) -> Result<(), (Refusal, Error)> {
        let identity = self.state.verified(&self.asked, verdict, request)?;
        self.observe.observe(&VerifyEvent::Verified(identity.clone()));
        permitted(&self.permit, &self.state.config.get(), &identity, request)
    }

    fn refuse(&self, refusal: Refusal, error: &Error) {
        self.state.counts.add(REFUSED, 1);
        self.observe.observe(&VerifyEvent::Refused(refusal, error.clone()));
    }
}

impl<S, Req, F, P, R, O> ResponseFuture<S, Req, F, P, R, O>
where
    S: Service<Req>,
{
    pub(super) fn refused(error: Error, reject: R) -> Self {
        ResponseFuture { state: State::Refused { error: Some(error) }, reject }
    }

    pub(super) fn called(future: S::Future, reject: R) -> Self {
        ResponseFuture { state: State::Called { future }, reject }
    }

    pub(super) fn verifying(verdict: F, inner: S, request: Req, pass: Pass<P, O>, reject: R) -> Self
    where
        Req: Credential,
    {
        let patience = Patience::until(request.deadline());
        ResponseFuture {
            state: State::Verifying { verdict, inner, request: Some(request), pass, patience },
            reject,
        }
    }
}

impl<S, Req, F, P, R, O> Future for ResponseFuture<S, Req, F, P, R, O>
where
    Req: Credential,
    S: Service<Req>,
    F: Future<Output = Result<Identity, Error>>,
    P: Permit,
    R: OnReject<S::Response, S::Error>,
    O: Observe<VerifyEvent>,
{
    type Output = Result<S::Response, R::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                // Refused -> over
                StateProj::Refused { error } => {
                    let Some(error) = error.take() else { return Poll::Pending };
                    return Poll::Ready(this.reject.reject(error));
                }
                // Verifying -> Called, if the credential is good; Refused, if not or when time is up
                StateProj::Verifying { verdict, inner, request, pass, patience } => {
                    let decided = match verdict.poll(cx) {
                        Poll::Ready(verdict) => match request.as_mut() {
                            Some(request) => pass.decide(verdict, request),
                            None => return Poll::Pending,
                        },
                        Poll::Pending => {
                            ready!(patience.poll_spent(cx));
                            Err((Refusal::Late, Patience::spent("its credential was not verified in time")))
                        }
                    };
                    let next = match (decided, request.take()) {
                        (Ok(()), Some(mut request)) => {
                            pass.state.counts.add(VERIFIED, 1);
                            if patience.has_waited() {
                                request.waited();
                            }
                            State::Called { future: inner.call(request) }
                        }
                        (Err((refusal, error)), _) => {
                            pass.refuse(refusal, &error);
                            State::Refused { error: Some(error) }
                        }
                        (Ok(()), None) => State::Refused { error: None },
                    };
                    this.state.set(next);
                }
                // Called -> over
                StateProj::Called { future } => {
                    return future.poll(cx).map(|result| result.map_err(|error| this.reject.pass(error)));
                }
            }
        }
    }
}

impl<S, Req, F, P, R, O> fmt::Debug for ResponseFuture<S, Req, F, P, R, O>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Refused { .. } => "refused",
            State::Verifying { .. } => "verifying",
            State::Called { .. } => "called",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
