//! What the layer makes of the inner service.

use crate::{FallbackConfig, FellBack, Mark, ResponseFuture, Substitute, When, plan::Plan};
use std::{
    fmt, mem,
    task::{Context, Poll},
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{BoxError, Cached, CallInfo, Classify, Live, Observe, Shared};

/// A service whose failures are answered with something else; [`FallbackLayer`](crate::FallbackLayer) makes it.
///
/// It is ready when the inner service is, and also when that fails to be: the call is answered then.
///
/// # Errors
/// Those of the inner service, where there is no answer.
///
/// # Cancel safety
/// Dropping the call's future drops the inner call, or that of the other service.
pub struct Fallback<S, A, I, C, W, M, O> {
    pub(crate) inner: S,
    /// The inner service has failed to be ready.
    pub(crate) unready: bool,
    pub(crate) info: I,
    pub(crate) plan: Shared<Plan<A, C, W, M, O>>,
    pub(crate) config: Live<FallbackConfig>,
    pub(crate) cached: Cached<FallbackConfig>,
}

impl<S, A, I, C, W, M, O, Req> Service<Req> for Fallback<S, A, I, C, W, M, O>
where
    S: Service<Req, Error: Into<BoxError>> + Clone,
    A: Substitute<Req, S::Response, S::Error>,
    I: CallInfo<Req, S::Response>,
    C: Classify<S::Response, S::Error>,
    W: When<S::Response, S::Error>,
    M: Mark<S::Response>,
    O: Observe<FellBack>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, A, C, W, M, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.unready {
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx).map(|ready| {
            // Only a call can be answered: it finds the same, in its future.
            self.unready = ready.is_err();
            Ok(())
        })
    }

    // Not inlined: the inner call's future is then written where it is to be, and not moved there.
    #[inline(never)]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let start = if A::LEARNS { Some(self.info.start(&mut request)) } else { None };
        let (kept, deadline) = if A::WAITS {
            self.prepare(&mut request, start)
        } else {
            (self.plan.substitute.keep(&request, start), None)
        };
        if self.unready {
            return self.call_unready(request, kept, deadline);
        }
        ResponseFuture::called(self.inner.call(request), kept, deadline, self.plan.lend())
    }
}

impl<S: Clone, A, I, C, W, M, O> Fallback<S, A, I, C, W, M, O> {
    #[cold]
    fn call_unready<Req>(
        &mut self,
        request: Req,
        kept: A::Kept,
        deadline: Option<Instant>,
    ) -> ResponseFuture<S, Req, A, C, W, M, O>
    where
        S: Service<Req>,
        A: Substitute<Req, S::Response, S::Error>,
    {
        self.unready = false;
        // The one that has failed is done with.
        let fresh = self.inner.clone();
        drop(mem::replace(&mut self.inner, fresh.clone()));
        ResponseFuture::readying(fresh, request, kept, deadline, self.plan.lend())
    }
}

impl<S, A, I, C, W, M, O> Fallback<S, A, I, C, W, M, O> {
    /// Keeps the request, and then a reserve of its deadline back. Answers with the whole deadline.
    fn prepare<Req, Res, Err>(
        &mut self,
        request: &mut Req,
        start: Option<Instant>,
    ) -> (A::Kept, Option<Instant>)
    where
        A: Substitute<Req, Res, Err>,
        I: CallInfo<Req, Res>,
    {
        // What is kept is used later: a reading of the clock in it would be old.
        let stamp = self.info.context_mut(request).and_then(|context| {
            let stamp = context.stamp();
            context.set_stamp(None);
            stamp
        });
        let kept = self.plan.substitute.keep(request, start);
        let Some(context) = self.info.context_mut(request) else { return (kept, None) };
        context.set_stamp(stamp);
        let Some(deadline) = context.deadline() else { return (kept, None) };
        let now = self.info.start(request);
        let reserve = self.cached.get(&self.config).of(deadline.saturating_duration_since(now));
        if let Some(context) = self.info.context_mut(request) {
            context.tighten_deadline(deadline - reserve);
        }
        (kept, Some(deadline))
    }
}

impl<S: Clone, A, I: Clone, C, W, M, O> Clone for Fallback<S, A, I, C, W, M, O> {
    fn clone(&self) -> Self {
        Fallback {
            inner: self.inner.clone(),
            // That was the other one.
            unready: false,
            info: self.info.clone(),
            plan: self.plan.clone(),
            config: self.config.clone(),
            cached: self.cached.clone(),
        }
    }
}

impl<S: fmt::Debug, A, I, C, W, M, O> fmt::Debug for Fallback<S, A, I, C, W, M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback").field("inner", &self.inner).finish_non_exhaustive()
    }
}
