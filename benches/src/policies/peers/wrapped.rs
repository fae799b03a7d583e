//! What is no tower layer, and takes a few lines to be one.

use super::{PER_SECOND, peer};
use crate::policies::{
    Policy,
    subject::{Immediate, clones},
};
use failsafe::{FailurePolicy, Instrument, StateMachine, futures::CircuitBreaker as _};
use futures_util::future::Either;
use governor::{DefaultDirectRateLimiter, Quota};
use std::{
    future::{Ready, ready},
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::{BoxError, Error, ErrorKind};

pub(super) fn policies() -> Vec<Policy> {
    vec![
        peer("breaker", "failsafe", "", || {
            Ok(clones(Breaker { breaker: failsafe::Config::new().build(), inner: Immediate::<Error>::new() }))
        }),
        peer("rate limit", "governor", "", || {
            let limiter = governor::RateLimiter::direct(Quota::per_second(
                NonZeroU32::new(PER_SECOND).ok_or("no calls at all")?,
            ));
            Ok(clones(Limited { limiter: Arc::new(limiter), inner: Immediate::<BoxError>::new() }))
        }),
    ]
}

struct Breaker<P, I, S> {
    breaker: StateMachine<P, I>,
    inner: S,
}

/// By hand: policy and instrument are shared, not cloned.
impl<P, I, S: Clone> Clone for Breaker<P, I, S> {
    fn clone(&self) -> Self {
        Breaker { breaker: self.breaker.clone(), inner: self.inner.clone() }
    }
}

impl<P, I, S, Req> Service<Req> for Breaker<P, I, S>
where
    P: FailurePolicy + Send + Sync,
    I: Instrument + Send + Sync,
    S: Service<Req>,
{
    type Response = S::Response;
    type Error = failsafe::Error<S::Error>;
    type Future = failsafe::futures::ResponseFuture<S::Future, P, I, failsafe::Any>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(failsafe::Error::Inner)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.breaker.call(self.inner.call(request))
    }
}

#[derive(Clone)]
struct Limited<S> {
    limiter: Arc<DefaultDirectRateLimiter>,
    inner: S,
}

impl<S, Req> Service<Req> for Limited<S>
where
    S: Service<Req, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Either<S::Future, Ready<Result<S::Response, BoxError>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match self.limiter.check() {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(_) => Either::Right(ready(Err(Error::new(ErrorKind::RateLimited).into()))),
        }
    }
}
