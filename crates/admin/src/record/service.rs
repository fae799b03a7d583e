//! What the layers make of the inner service.

use super::{
    future::{AttemptFuture, CallFuture},
    methods::Place,
    notes::{self, Call, Mark},
    recorder::Recorder,
};
use std::task::{Context, Poll};
use tower_service::Service;
use towpath_core::{
    BoxError, Clock, Request, Response,
    context::{Listen, pick},
};

/// A service whose calls are recorded; [`CallsLayer`](crate::CallsLayer) makes it. It is ready when the inner one is.
///
/// # Cancel safety
/// A call that is dropped before it is answered is counted as cancelled.
#[derive(Clone, Debug)]
pub struct Calls<S> {
    pub(super) inner: S,
    pub(super) recorder: Recorder,
    /// Where the method was that was called last.
    pub(super) last: Place,
}

/// A service whose calls are recorded as attempts; [`AttemptsLayer`](crate::AttemptsLayer) makes it. It is ready when the
/// inner one is.
///
/// A call without a trace gets one here, which is not sampled, so that it can be found again at the callee as well.
#[derive(Clone, Debug)]
pub struct Attempts<S> {
    pub(super) inner: S,
    pub(super) recorder: Recorder,
}

impl<S> Service<Request> for Calls<S>
where
    S: Service<Request, Response = Response>,
    S::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = BoxError;
    type Future = CallFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, mut request: Request) -> Self::Future {
        let recorder = self.recorder.lend();
        let began = Clock::start(&mut request);
        let mut call = Some(Call::begin(began, request.context(), recorder.sample()));
        if let Some(call) = &mut call {
            match recorder.methods().find(request.method().as_str().as_bytes(), &mut self.last) {
                Some(place) => call.place = Some(place),
                None => call.method = request.method().clone(),
            }
        }
        let lent = notes::lend(&mut call);
        let inner = self.inner.call(request);
        drop(lent);
        CallFuture::new(inner, recorder, call)
    }
}

impl<S> Service<Request> for Attempts<S>
where
    S: Service<Request, Response = Response>,
    S::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = BoxError;
    type Future = AttemptFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, mut request: Request) -> Self::Future {
        let recorder = self.recorder.lend();
        let (mark, sampled) = Mark::begin(request.context_mut());
        let listen = Listen::new();
        let inner = self.inner.call(request);
        let heard = listen.heard();
        drop(listen);
        if let Some(endpoint) = heard {
            mark.goes_to(endpoint);
            // Who plans attempts listens too.
            pick(endpoint);
            if sampled {
                mark.choice(|picked| recorder.choice(picked));
            }
        }
        AttemptFuture::new(inner, recorder, mark)
    }
}
