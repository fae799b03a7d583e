//! What the layer makes of the inner service.

use super::{
    ResponseFuture,
    future::{Watch, passed_on},
    hooks::Fit,
    outcome::Outcome,
    state::{About, Role, State},
};
use std::{
    fmt,
    task::{Context, Poll},
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{Clock, Method, Shared, context::Listen};

/// A service whose calls are counted and timed; [`MetricsLayer`](crate::MetricsLayer) makes it.
///
/// It is ready when the inner service is, and passes on what that answers or fails with, as it is.
///
/// # Cancel safety
/// A call that is dropped before it is answered is counted as cancelled.
pub struct Calls<S, H> {
    pub(super) inner: S,
    /// Whether anybody counts: looked up before each call, when no request is there yet. A call that nobody counts goes
    /// through without being copied so (a request that may have to be dropped on the way is moved to be handed on).
    pub(super) on: bool,
    /// The place of the method that was called last: most callers call one.
    pub(super) last: u32,
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
        self.on = self.shared.about.metrics.0.on();
        self.inner.poll_ready(cx)
    }

    #[inline(never)]
    fn call(&mut self, request: Req) -> Self::Future {
        if !self.on {
            return ResponseFuture { future: self.inner.call(request), watch: None };
        }
        self.counted(request)
    }
}

impl<S, H> Calls<S, H> {
    pub(super) fn new(inner: S, shared: Shared<State<H>>) -> Self {
        Calls { inner, on: shared.about.metrics.0.on(), last: 0, shared }
    }

    #[inline(never)]
    fn counted<Req>(&mut self, mut request: Req) -> ResponseFuture<S, Req, H>
    where
        S: Service<Req>,
        H: Fit<Req, S::Response, S::Error>,
    {
        let State { about, hooks } = &*self.shared;
        let start = hooks.start(&mut request);
        let method = hooks.method(&request);
        let known = about.book.begin(method.map_or(&[], |method| method.as_bytes()), &mut self.last);
        let new = if known.is_none() { method.cloned() } else { None };
        let role = about.book.role;
        // What is written down of the call is put together when its future is there, straight into its place: what is put
        // together elsewhere is copied in other pieces than it was written in, and the processor waits for its own stores.
        let panics = Panics { about, start, known, new: &new };
        let listen = (role == Role::Attempt).then(Listen::new);
        let future = self.inner.call(request);
        let endpoint = listen.and_then(passed_on);
        std::mem::forget(panics);
        let state = self.shared.lend();
        ResponseFuture { future, watch: Some(Watch { state, start, known, new, endpoint, ended: false }) }
    }
}

/// Counts a call whose service panics before there is a future.
struct Panics<'a> {
    about: &'a About,
    start: Instant,
    known: Option<u32>,
    new: &'a Option<Method>,
}

impl Drop for Panics<'_> {
    #[cold]
    fn drop(&mut self) {
        let outcome = Outcome::dropped();
        let place = self.about.place(self.known, self.new, &outcome, None);
        self.about.book.end(place, outcome, Clock::now().saturating_duration_since(self.start));
    }
}

impl<S: Clone, H> Clone for Calls<S, H> {
    fn clone(&self) -> Self {
        Calls { inner: self.inner.clone(), on: self.on, last: self.last, shared: self.shared.clone() }
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
