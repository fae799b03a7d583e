//! Answers of another service.

use crate::{Declined, Failure, Source, Substitute, Substituted};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::BoxError;

/// Answers with what another service answers: [`FallbackLayer::service`](crate::FallbackLayer::service).
pub struct Another<S> {
    /// To clone from. It is never called itself, and never locked but when a call has failed.
    service: Mutex<S>,
}

impl<S> Another<S> {
    pub(crate) fn new(service: S) -> Self {
        Another { service: Mutex::new(service) }
    }
}

impl<Req, Res, Err, S> Substitute<Req, Res, Err> for Another<S>
where
    Req: Clone,
    S: Service<Req, Response = Res, Error: Into<BoxError>> + Clone,
{
    type Kept = Req;
    type Future = AnotherFuture<S, Req>;

    const WAITS: bool = true;

    fn source(&self) -> Source {
        Source::Service
    }

    #[inline]
    fn keep(&self, request: &Req, _: Option<Instant>) -> Req {
        request.clone()
    }

    fn substitute(&self, request: Req, _: Failure<'_, Res, Err>) -> Self::Future {
        // A clone that panicked left the service as it was.
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        AnotherFuture { state: State::Readying { service, request: Some(request) } }
    }
}

impl<S> fmt::Debug for Another<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Another").finish_non_exhaustive()
    }
}

pin_project! {
    /// A call of the other service.
    pub struct AnotherFuture<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, F> {
        // A clone is being readied.
        Readying { service: S, request: Option<Req> },
        // That clone was called.
        Called { #[pin] future: F },
    }
}

impl<S, Req> Future for AnotherFuture<S, Req>
where
    S: Service<Req, Error: Into<BoxError>>,
{
    type Output = Result<Substituted<S::Response>, Declined>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        let failed = |error: S::Error| Declined::Failed(error.into());
        loop {
            match state.as_mut().project() {
                // Readying -> Called, when it is ready
                StateProj::Readying { service, request } => {
                    ready!(service.poll_ready(cx)).map_err(failed)?;
                    let Some(request) = request.take() else { return Poll::Pending };
                    let future = service.call(request);
                    state.set(State::Called { future });
                }
                // Called -> done
                StateProj::Called { future } => {
                    return future.poll(cx).map_ok(Substituted::from).map_err(failed);
                }
            }
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for AnotherFuture<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnotherFuture").finish_non_exhaustive()
    }
}
