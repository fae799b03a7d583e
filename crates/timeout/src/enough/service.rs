//! What the layer makes of the inner service.

use super::{ResponseFuture, config::EnoughTimeConfig, future::Watch, group::Group, state::State};
use crate::TooLittleLeft;
use std::{
    fmt,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::{Cached, Clock, HasContext, Observe, OnReject, Shared};

/// A service that refuses calls with too little time left; [`EnoughTimeLayer`](crate::EnoughTimeLayer) makes
/// it. It is ready when the inner service is.
///
/// # Errors
/// [`ErrorKind::DeadlineExceeded`](towpath_core::ErrorKind::DeadlineExceeded) and
/// [not processed](towpath_core::Processed::No), as a [`BoxError`](towpath_core::BoxError), unless an
/// [`OnReject`] answers in its place. The inner service is not called then.
///
/// # Cancel safety
/// Dropping the call's future drops the inner one.
pub struct EnoughTime<S, G = (), R = (), O = ()> {
    inner: S,
    state: Shared<State>,
    config: Cached<EnoughTimeConfig>,
    /// How many calls this clone has had.
    turn: u8,
    group: G,
    reject: R,
    observe: O,
}

impl<S, G, R, O> EnoughTime<S, G, R, O> {
    pub(super) fn new(inner: S, state: Shared<State>, group: G, reject: R, observe: O) -> Self {
        let config = Cached::new(&state.config);
        EnoughTime { inner, state, config, turn: 0, group, reject, observe }
    }
}

impl<S: Clone, G: Clone, R: Clone, O: Clone> Clone for EnoughTime<S, G, R, O> {
    fn clone(&self) -> Self {
        EnoughTime {
            inner: self.inner.clone(),
            state: self.state.clone(),
            config: self.config.clone(),
            // From the beginning: clones that are called once each are observed, and not by chance all or none.
            turn: 0,
            group: self.group.clone(),
            reject: self.reject.clone(),
            observe: self.observe.clone(),
        }
    }
}

impl<S, G, R, O, Request> Service<Request> for EnoughTime<S, G, R, O>
where
    Request: HasContext,
    S: Service<Request> + Clone,
    G: Group<Request>,
    R: OnReject<S::Response, S::Error> + Clone,
    O: Observe<TooLittleLeft>,
{
    type Response = S::Response;
    type Error = R::Error;
    type Future = ResponseFuture<S::Future, S::Response, S::Error, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(|error| self.reject.pass(error))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        self.state.count();
        let now = Clock::start(&mut request);
        let slot = if G::SEVERAL { self.state.slot(self.group.group(&request)) } else { 0 };
        let config = self.config.get(&self.state.config);
        let deadline = request.context().and_then(towpath_core::Context::deadline);
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(now);
            if left < config.at_least().max(self.state.usual(slot))
                && let Some(event) = self.state.judge(slot, left, now)
            {
                self.observe.observe(&event);
                if event.refused {
                    // The inner service was readied for this call and will not be called: what it reserved
                    // goes back with it.
                    self.inner = self.inner.clone();
                    return ResponseFuture::refused(self.reject.reject(event.error()));
                }
            }
        }
        let observed = config.quantile() > 0.0 && self.state.observes(slot, self.turn);
        self.turn = self.turn.wrapping_add(1);
        let watch = observed.then(|| Watch::new(self.state.lend(), slot, now, deadline));
        ResponseFuture::called(self.inner.call(request), self.reject.clone(), watch)
    }
}

impl<S: fmt::Debug, G, R, O> fmt::Debug for EnoughTime<S, G, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnoughTime")
            .field("inner", &self.inner)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
