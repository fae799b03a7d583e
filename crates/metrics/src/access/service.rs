//! What the layer makes of the inner service.

use super::{AccessFuture, event::Listen, future::Watch};
use crate::{Role, calls::Fit};
use std::{
    fmt,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::Shared;

/// A service whose calls are told of when they have ended; [`AccessLayer`](crate::AccessLayer) makes it.
///
/// It is ready when the inner service is, and passes on what that answers or fails with, as it is. A call that begins
/// while nobody listens is not told of.
///
/// # Cancel safety
/// A call that is dropped before it is answered is told of as cancelled.
pub struct Access<S, H, L> {
    pub(super) inner: S,
    pub(super) shared: Shared<State<H, L>>,
}

/// What the services of one layer share.
pub(super) struct State<H, L> {
    pub(super) about: About<L>,
    pub(super) hooks: H,
}

pub(super) struct About<L> {
    pub(super) role: Role,
    pub(super) listen: L,
}

impl<S, H, L, Req> Service<Req> for Access<S, H, L>
where
    S: Service<Req>,
    H: Fit<Req, S::Response, S::Error>,
    L: Listen,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AccessFuture<S, Req, H, L>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let State { about, hooks } = &*self.shared;
        if !about.listen.listens() {
            return AccessFuture { future: self.inner.call(request), watch: None };
        }
        let start = hooks.start(&mut request);
        let context = hooks.context(&request);
        let mut watch = Watch {
            state: self.shared.lend(),
            start,
            method: hooks.method(&request).cloned(),
            attempt: context.map_or(0, |context| context.attempt()),
            trace: context.and_then(|context| context.trace()),
            endpoint: None,
            ended: false,
        };
        let future = watch.within(|| self.inner.call(request));
        AccessFuture { future, watch: Some(watch) }
    }
}

impl<S: Clone, H, L> Clone for Access<S, H, L> {
    fn clone(&self) -> Self {
        Access { inner: self.inner.clone(), shared: self.shared.clone() }
    }
}

impl<S: fmt::Debug, H, L> fmt::Debug for Access<S, H, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = &self.shared.about.role;
        f.debug_struct("Access").field("inner", &self.inner).field("role", role).finish_non_exhaustive()
    }
}
