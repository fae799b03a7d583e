//! What the layer makes of the inner service.

use super::{
    ResponseFuture,
    future::{Watch, heard},
    hooks::Fit,
    outcome::{End, Outcome},
    state::{NOWHERE, Role, State},
};
use std::{
    fmt,
    mem::ManuallyDrop,
    task::{Context, Poll},
    time::Duration,
};
use tower_service::Service;
use towpath_core::{Method, Shared, context::Listen};

/// A service whose calls are counted and timed; [`MetricsLayer`](crate::MetricsLayer) makes it.
///
/// It is ready when the inner service is, and passes on what that answers or fails with, as it is.
///
/// # Cancel safety
/// A call that is dropped before it is answered is counted as cancelled. One whose service panicked before there was a future
/// is counted when this clone is polled again or dropped.
pub struct Calls<S, H> {
    pub(super) inner: S,
    /// Whether anybody counts: looked up before each call, when no request is there yet. A call that nobody counts goes
    /// through without being copied so (a request that may have to be dropped on the way is moved to be handed on).
    pub(super) on: bool,
    /// The inner service is being called, or has panicked when it was.
    calls: bool,
    /// The place of the method that was called last: most callers call one.
    pub(super) last: u32,
    /// The method that is being called, if it has no place yet.
    new: Option<Box<Method>>,
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
        if self.calls {
            self.panicked();
        }
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
        Calls { inner, on: shared.about.metrics.0.on(), calls: false, last: NOWHERE, new: None, shared }
    }

    /// Nothing is alive while the inner service is called that would have to be dropped if that panicked, and what is
    /// written down of the call is put together when its future is there, straight into its place (decision 0019).
    #[inline(never)]
    fn counted<Req>(&mut self, mut request: Req) -> ResponseFuture<S, Req, H>
    where
        S: Service<Req>,
        H: Fit<Req, S::Response, S::Error>,
    {
        let State { about, hooks } = &*self.shared;
        let start = hooks.start(&mut request);
        (self.last, self.new) = about.begin(hooks.method(&request), self.last);
        let listen = ManuallyDrop::new((about.book.role == Role::Attempt).then(Listen::new));
        self.calls = true;
        let future = self.inner.call(request);
        self.calls = false;
        let endpoint = heard(ManuallyDrop::into_inner(listen));
        let (known, new) = (self.last, self.new.take());
        let state = self.shared.lend();
        ResponseFuture { future, watch: Some(Watch { state, start, known, new, endpoint, ended: false }) }
    }

    /// Counts a call whose service panicked before there was a future. How long it took is not known.
    #[cold]
    #[inline(never)]
    fn panicked(&mut self) {
        self.calls = false;
        let about = &self.shared.about;
        let outcome = Outcome { end: End::Panicked, code: None };
        let place = about.place(self.last, self.new.take().as_deref(), &outcome, None);
        about.book.end(place, outcome, Duration::ZERO);
    }
}

impl<S, H> Drop for Calls<S, H> {
    fn drop(&mut self) {
        if self.calls {
            self.panicked();
        }
    }
}

impl<S: Clone, H> Clone for Calls<S, H> {
    fn clone(&self) -> Self {
        Calls {
            inner: self.inner.clone(),
            on: self.on,
            calls: false,
            last: self.last,
            new: None,
            shared: self.shared.clone(),
        }
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
