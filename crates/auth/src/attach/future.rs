//! One call that gets a credential.

use crate::{Credential, Token, event::AttachEvent, patience::Patience};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;
use towpath_core::{Error, Observe, OnReject, Processed};

pin_project! {
    /// A call of an [`Attach`](crate::Attach): the inner service's answer, or the reason why there is no token.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, F, R, O>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req, S::Future, F, O>,
        reject: R,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, G, F, O> {
        // There is no token.
        Refused { error: Option<Error> },
        // There is none yet; the inner service is ready.
        Waiting { #[pin] token: F, inner: S, request: Option<Req>, patience: Patience, observe: O },
        // The inner service was called.
        Called { #[pin] future: G },
    }
}

impl<S, Req, F, R, O> ResponseFuture<S, Req, F, R, O>
where
    S: Service<Req>,
{
    pub(super) fn refused(error: Error, reject: R) -> Self {
        ResponseFuture { state: State::Refused { error: Some(error) }, reject }
    }

    pub(super) fn called(future: S::Future, reject: R) -> Self {
        ResponseFuture { state: State::Called { future }, reject }
    }

    pub(super) fn waiting(token: F, inner: S, request: Req, reject: R, observe: O) -> Self
    where
        Req: Credential,
    {
        let patience = Patience::until(request.deadline());
        ResponseFuture {
            state: State::Waiting { token, inner, request: Some(request), patience, observe },
            reject,
        }
    }
}

impl<S, Req, F, R, O> Future for ResponseFuture<S, Req, F, R, O>
where
    Req: Credential,
    S: Service<Req>,
    F: Future<Output = Result<Token, Error>>,
    R: OnReject<S::Response, S::Error>,
    O: Observe<AttachEvent>,
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
                // Waiting -> Called, with a token; Refused, without one or when time is up
                StateProj::Waiting { token, inner, request, patience, observe } => {
                    let got = match token.poll(cx) {
                        Poll::Ready(got) => got.map_err(|error| error.with_processed(Processed::No)),
                        Poll::Pending => {
                            ready!(patience.poll_spent(cx));
                            Err(Patience::spent("no token came in time"))
                        }
                    };
                    let next = match (got, request.take()) {
                        (Ok(token), Some(mut request)) => {
                            request.set_authorization(&token);
                            if patience.has_waited() {
                                request.waited();
                            }
                            State::Called { future: inner.call(request) }
                        }
                        (Err(error), _) => {
                            observe.observe(&AttachEvent::NoToken(error.clone()));
                            State::Refused { error: Some(error) }
                        }
                        (Ok(_), None) => State::Refused { error: None },
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

impl<S, Req, F, R, O> fmt::Debug for ResponseFuture<S, Req, F, R, O>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Refused { .. } => "refused",
            State::Waiting { .. } => "waiting",
            State::Called { .. } => "called",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
