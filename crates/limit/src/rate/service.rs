//! What the layer makes of the inner service.

use super::{
    RateConfig, RateKey, ResponseFuture,
    state::{Booking, Decision, State},
};
use crate::LimitEvent;
use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{Cached, CallInfo, Observe, OnReject, Shared};

/// A service that so many calls reach in so much time; [`RateLimitLayer`](super::RateLimitLayer) makes it.
///
/// It is ready when the inner service is. A call above the rate is refused at once, or waits for its time in its own
/// future, as [the config](RateConfig::with_max_wait) says. One that waits has no hold on the inner service: a clone of
/// that one is readied when its time has come.
///
/// Response and error: those of the inner service, the error boxed unless an [`OnReject`] says otherwise.
///
/// # Errors
/// [`ErrorKind::RateLimited`](towpath_core::ErrorKind::RateLimited) (MCP-W-104), [not
/// processed](towpath_core::Processed::No), with the time after which a call conforms, to the nanosecond. As a
/// [`BoxError`](towpath_core::BoxError), unless an [`OnReject`] answers in its place.
///
/// # Cancel safety
/// A call that is dropped while it waits gives its place back, unless others stand behind it: those were told their
/// times, and its own stays unused.
pub struct RateLimit<S, K = (), I = (), R = (), O = ()> {
    inner: S,
    key: K,
    info: I,
    config: Cached<RateConfig>,
    shared: Shared<State<R, O>>,
}

impl<S, K, I, R, O> RateLimit<S, K, I, R, O> {
    pub(super) fn new(inner: S, key: K, info: I, shared: Shared<State<R, O>>) -> Self {
        let config = Cached::new(&shared.core.config);
        RateLimit { inner, key, info, config, shared }
    }
}

impl<S: Clone, K: Clone, I: Clone, R, O> Clone for RateLimit<S, K, I, R, O> {
    fn clone(&self) -> Self {
        let (inner, key, info) = (self.inner.clone(), self.key.clone(), self.info.clone());
        RateLimit { inner, key, info, config: self.config.clone(), shared: self.shared.clone() }
    }
}

impl<S, K, I, R, O, Request> Service<Request> for RateLimit<S, K, I, R, O>
where
    S: Service<Request> + Clone,
    K: RateKey<Request>,
    I: CallInfo<Request, S::Response>,
    R: OnReject<S::Response, S::Error>,
    O: Observe<LimitEvent>,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S, Request, R, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.shared.reject.pass(error))
    }

    #[inline(never)]
    fn call(&mut self, mut request: Request) -> Self::Future {
        let core = &self.shared.core;
        let now = self.info.start(&mut request);
        let config = self.config.get(&core.config);
        let mut patience = config.max_wait();
        if !patience.is_zero()
            && let Some(deadline) = self.info.context(&request).and_then(|context| context.deadline())
        {
            patience = patience.min(deadline.saturating_duration_since(now));
        }
        let key = if K::IS_KEYED { core.key(|key| self.key.hash(&request, key)) } else { None };
        match core.decide(config, key, now, patience) {
            Decision::Now => ResponseFuture::called(self.inner.call(request), self.shared.lend()),
            Decision::Later(wait, booking) => self.wait(request, now + wait, booking),
            Decision::Refused(retry_after) => self.refuse(retry_after),
        }
    }
}

impl<S, K, I, R, O> RateLimit<S, K, I, R, O> {
    #[cold]
    fn refuse<Request>(&mut self, retry_after: Duration) -> ResponseFuture<S, Request, R, O>
    where
        S: Service<Request> + Clone,
        O: Observe<LimitEvent>,
    {
        // The inner service was readied for this call, and will not be called: what it reserved goes back.
        self.inner = self.inner.clone();
        ResponseFuture::refused(retry_after, self.shared.lend())
    }

    #[cold]
    fn wait<Request>(
        &mut self,
        mut request: Request,
        until: Instant,
        booking: Booking,
    ) -> ResponseFuture<S, Request, R, O>
    where
        S: Service<Request> + Clone,
        I: CallInfo<Request, S::Response>,
        O: Observe<LimitEvent>,
    {
        let waiting = self.inner.clone();
        // The readied one will not be called now: what it reserved goes back.
        self.inner = waiting.clone();
        // A reading of the clock that was left in the request is old by the time it is passed on.
        if let Some(context) = self.info.context_mut(&mut request) {
            context.set_stamp(None);
        }
        ResponseFuture::waiting(waiting, request, until, booking, self.shared.lend())
    }
}

impl<S: fmt::Debug, K, I, R, O> fmt::Debug for RateLimit<S, K, I, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("inner", &self.inner)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
