//! What the layer makes of the inner service.

use crate::{
    GaveUp, HedgeConfig, ResponseFuture, RetryEvent, RetryHandle,
    future::First,
    handle::{CALLS, Core},
    hooks::Fit,
};
use std::{
    fmt,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{Context as Known, Deposits, Shared, context::Listen};

/// A service whose calls are attempted again; [`RetryLayer`](crate::RetryLayer) makes it.
///
/// It is ready when the inner service is, and the first attempt goes to the inner service that was readied:
/// nothing is cloned for it but the request. Further attempts go to fresh clones, which are readied in the call's
/// future within the attempt's time, and dropped as soon as they are called. Before a wait the failed attempt is
/// dropped: while it backs off, a call holds no permit, slot or connection.
///
/// # What it changes
/// The response is the inner one, with [`Attempts`](crate::Attempts) among its extensions if there was more than
/// one; the answer to a call that failed and whose attempts were spent says `retry-stop`. Errors are `BoxError`s
/// that say after how many attempts, unless an [`OnReject`](towpath_core::OnReject) keeps their type.
///
/// # Errors
/// The error of the last attempt. [`ErrorKind::DeadlineExceeded`](towpath_core::ErrorKind::DeadlineExceeded) if
/// that one was given up because its time was up, or if the deadline had passed when the call came.
///
/// # Cancel safety
/// Dropping the call's future drops all attempts that are under way.
pub struct Retry<S, H> {
    pub(crate) inner: S,
    pub(crate) cache: Cache,
    pub(crate) shared: Shared<State<S, H>>,
}

/// What the services and the calls of one inner service share.
pub(crate) struct State<S, H> {
    pub(crate) core: Shared<Core>,
    pub(crate) hooks: H,
    /// Never readied; what further attempts are cloned from.
    spare: Mutex<S>,
}

impl<S: Clone, H> State<S, H> {
    pub(crate) fn new(core: Shared<Core>, spare: S, hooks: H) -> Self {
        State { core, hooks, spare: Mutex::new(spare) }
    }

    /// A copy for another attempt. If there can be none, that is said, once.
    #[inline(never)]
    pub(crate) fn copy<Req, Res, Err>(&self, request: &Req) -> Option<Req>
    where
        H: Fit<Req, Res, Err>,
    {
        let copy = self.hooks.copy(request);
        if copy.is_none() && self.core.cannot_copy() {
            self.hooks.observe(RetryEvent::CannotCopy);
        }
        copy
    }

    pub(crate) fn fresh(&self) -> S {
        // A clone that panicked has changed nothing.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a call has to know of the config, worked out when it changes.
#[derive(Clone)]
pub(crate) struct Cache {
    version: u64,
    /// Why nothing is ever attempted again, if so.
    off: Option<GaveUp>,
    hedge: Option<HedgeConfig>,
    measures: bool,
    attempt_timeout: Option<Duration>,
    budget: Deposits,
    hedges: Deposits,
}

impl Cache {
    #[cold]
    pub(crate) fn new(core: &Core) -> Self {
        let version = core.config.version();
        let config = core.config.get();
        core.apply(&config);
        let budget = core.budget.config();
        let off = if config.max_attempts() == 1 {
            Some(GaveUp::AttemptsSpent)
        } else if budget.share() == 0.0 && budget.per_second() == 0 {
            Some(GaveUp::BudgetSpent)
        } else {
            None
        };
        Cache {
            version,
            off,
            hedge: config.hedge().copied().filter(|_| off.is_none()),
            measures: config.percentile().is_some() && off.is_none(),
            attempt_timeout: config.attempt_timeout(),
            budget: core.budget.deposits(),
            hedges: core.hedges.deposits(),
        }
    }

    #[inline]
    fn look(&mut self, core: &Core) {
        if core.config.version() != self.version {
            *self = Cache::new(core);
        }
    }
}

impl<S, H> Retry<S, H> {
    /// A handle to what all services of this layer share.
    pub fn handle(&self) -> RetryHandle {
        RetryHandle { core: self.shared.core.clone() }
    }
}

impl<S, H, Req> Service<Req> for Retry<S, H>
where
    S: Service<Req> + Clone,
    H: Fit<Req, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = <H as Fit<Req, S::Response, S::Error>>::Error;
    type Future = ResponseFuture<S, Req, H>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.shared.hooks.pass(error))
    }

    // Not inlined: the inner call's future is then written where it is to be, and not moved there.
    #[inline(never)]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let (core, hooks) = (&*self.shared.core, &self.shared.hooks);
        self.cache.look(core);
        let cache = &mut self.cache;
        let start = hooks.start(&mut request);
        let known = hooks.context(&request);
        let (limit, upstream) = (known.and_then(Known::deadline), known.map_or(0, Known::attempt));
        if limit.is_some_and(|deadline| deadline <= start) {
            return self.call_late(start);
        }
        core.counts.add(CALLS, 1);
        cache.budget.deposit(start);
        let off = if upstream == 0 { cache.off } else { cache.off.or(Some(GaveUp::Upstream)) };
        let own = cache.attempt_timeout.map(|timeout| start + timeout);
        let limit = match (limit, own) {
            _ if hooks.kept_below() => None,
            (Some(limit), Some(own)) => Some(limit.min(own)),
            (limit, own) => limit.or(own),
        };
        let first =
            First { start, limit, due: limit, measures: cache.measures, polled: false, endpoint: None };
        if cache.hedge.is_some() {
            return self.call_hedged(request, off, own, first);
        }
        let mut copy = if off.is_none() { self.shared.copy(&request) } else { None };
        if let (Some(own), Some(context)) = (own, self.shared.hooks.context_mut(&mut request)) {
            context.tighten_deadline(own);
        }
        self.call_first(request, &mut copy, off, first)
    }
}

impl<S, H> Retry<S, H> {
    /// The first attempt, and most often the only one.
    #[inline]
    fn call_first<Req>(
        &mut self,
        request: Req,
        copy: &mut Option<Req>,
        off: Option<GaveUp>,
        first: First,
    ) -> ResponseFuture<S, Req, H>
    where
        S: Service<Req> + Clone,
        H: Fit<Req, S::Response, S::Error>,
    {
        let listen = Listen::new();
        self.call_inner(request, copy, off, first, &listen)
    }

    /// Nothing is alive in it that would have to be dropped if the inner service panicked: the copy is the caller's until there
    /// is a future. So that is written where it stays, if nobody gives it a name.
    #[inline(never)]
    fn call_inner<Req>(
        &mut self,
        request: Req,
        copy: &mut Option<Req>,
        off: Option<GaveUp>,
        first: First,
        listen: &Listen,
    ) -> ResponseFuture<S, Req, H>
    where
        S: Service<Req> + Clone,
        H: Fit<Req, S::Response, S::Error>,
    {
        let why_not = off.unwrap_or(GaveUp::CannotCopy);
        ResponseFuture::new(
            self.inner.call(request),
            copy.take(),
            why_not,
            self.shared.lend(),
            First { endpoint: listen.heard(), ..first },
        )
    }
}

impl<S, H> Retry<S, H> {
    #[cold]
    fn call_late<Req>(&mut self, start: Instant) -> ResponseFuture<S, Req, H>
    where
        S: Service<Req> + Clone,
    {
        // The inner service was readied for this call and will not be called: what it reserved goes back.
        self.inner = self.shared.fresh();
        ResponseFuture::late(self.shared.lend(), start)
    }

    /// As any other call, which may get company.
    #[inline(never)]
    fn call_hedged<Req>(
        &mut self,
        mut request: Req,
        off: Option<GaveUp>,
        own: Option<Instant>,
        mut first: First,
    ) -> ResponseFuture<S, Req, H>
    where
        S: Service<Req> + Clone,
        H: Fit<Req, S::Response, S::Error>,
    {
        let (state, cache, start) = (&*self.shared, &mut self.cache, first.start);
        cache.hedges.deposit(start);
        let mut copy = if off.is_none() { state.copy(&request) } else { None };
        if let Some(hedge) = &cache.hedge
            && copy.is_some()
            && state.hooks.may_repeat(&request).1
            && let Some(after) = state.core.hedge_after(hedge)
        {
            first.due = Some(first.limit.map_or(start + after, |limit| limit.min(start + after)));
        }
        if let (Some(own), Some(context)) = (own, state.hooks.context_mut(&mut request)) {
            context.tighten_deadline(own);
        }
        self.call_first(request, &mut copy, off, first)
    }
}

impl<S: Clone, H> Clone for Retry<S, H> {
    fn clone(&self) -> Self {
        Retry { inner: self.inner.clone(), cache: self.cache.clone(), shared: self.shared.clone() }
    }
}

impl<S, H: fmt::Debug> fmt::Debug for Retry<S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("hooks", &self.shared.hooks).field("handle", &self.handle()).finish()
    }
}
