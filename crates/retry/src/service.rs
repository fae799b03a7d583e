//! What the layer makes of the inner service.

use crate::{
    GaveUp, HedgeConfig, ResponseFuture, RetryEvent, RetryHandle,
    future::First,
    handle::{CALLS, Core},
    hooks::Fit,
    judge::Kept,
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

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let (core, hooks) = (&*self.shared.core, &self.shared.hooks);
        self.cache.look(core);
        let cache = &mut self.cache;
        let start = hooks.start(&mut request);
        let known = hooks.context(&request);
        let (limit, upstream) = (known.and_then(Known::deadline), known.map_or(0, Known::attempt));
        if limit.is_some_and(|deadline| deadline <= start) {
            // The inner service was readied for this call and will not be called: what it reserved goes back.
            self.inner = self.shared.fresh();
            return ResponseFuture::late(self.shared.lend(), start);
        }
        core.counts.add(CALLS, 1);
        cache.budget.deposit(start);
        let kept = match cache.off {
            None if upstream == 0 => match hooks.copy(&request) {
                Some(copy) => Kept::Copy(copy),
                None => Kept::Not(cannot_copy::<S, H, Req>(&self.shared)),
            },
            None => Kept::Not(GaveUp::Upstream),
            Some(why) => Kept::Not(why),
        };
        self.begin(request, kept, start, limit)
    }
}

impl<S, H> Retry<S, H> {
    #[inline(always)]
    fn begin<Req>(
        &mut self,
        mut request: Req,
        kept: Kept<Req>,
        start: Instant,
        mut limit: Option<Instant>,
    ) -> ResponseFuture<S, Req, H>
    where
        S: Service<Req>,
        H: Fit<Req, S::Response, S::Error>,
    {
        let (hooks, cache) = (&self.shared.hooks, &mut self.cache);
        if let Some(timeout) = cache.attempt_timeout {
            let own = start + timeout;
            limit = Some(limit.map_or(own, |deadline| deadline.min(own)));
            if let Some(context) = hooks.context_mut(&mut request) {
                context.tighten_deadline(own);
            }
        }
        if hooks.kept_below() {
            limit = None;
        }
        let mut due = limit;
        if let Some(hedge) = &cache.hedge {
            cache.hedges.deposit(start);
            if matches!(kept, Kept::Copy(_))
                && hooks.may_repeat(&request).1
                && let Some(after) = self.shared.core.hedge_after(hedge)
            {
                due = Some(limit.map_or(start + after, |limit| limit.min(start + after)));
            }
        }
        let measures = cache.measures;
        let listen = Listen::new();
        let future = self.inner.call(request);
        let endpoint = listen.heard();
        drop(listen);
        let first = First { start, limit, due, measures, polled: false, endpoint };
        ResponseFuture::new(future, kept, self.shared.lend(), first)
    }
}

#[cold]
fn cannot_copy<S, H, Req>(state: &State<S, H>) -> GaveUp
where
    S: Service<Req>,
    H: Fit<Req, S::Response, S::Error>,
{
    if state.core.cannot_copy() {
        state.hooks.observe(RetryEvent::CannotCopy);
    }
    GaveUp::CannotCopy
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
