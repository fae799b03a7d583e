//! A policy that may be left out.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

/// What a layer makes of a service, if it is there.
pub(crate) type Optional<L, S> = Maybe<<L as Layer<S>>::Service, S>;

/// A service with a policy around it, or without: as the config has it, which is known only when the program runs.
///
/// As tower's `Either` does, but for where its future is put together: in place, as all layers have it here.
#[derive(Clone, Debug)]
pub enum Maybe<A, B> {
    /// With the policy.
    With(A),
    /// Without it.
    Without(B),
}

impl<A, B> Maybe<A, B> {
    pub(crate) fn around<L: Layer<B, Service = A>>(layer: Option<&L>, inner: B) -> Self {
        match layer {
            Some(layer) => Maybe::With(layer.layer(inner)),
            None => Maybe::Without(inner),
        }
    }
}

impl<A, B, Req> Service<Req> for Maybe<A, B>
where
    A: Service<Req>,
    B: Service<Req, Response = A::Response, Error = A::Error>,
{
    type Response = A::Response;
    type Error = A::Error;
    type Future = MaybeFuture<A::Future, B::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), A::Error>> {
        match self {
            Maybe::With(service) => service.poll_ready(cx),
            Maybe::Without(service) => service.poll_ready(cx),
        }
    }

    // Not inlined: the branch would be in the way of who puts the future into its place.
    #[inline(never)]
    fn call(&mut self, request: Req) -> Self::Future {
        match self {
            Maybe::With(service) => MaybeFuture { state: State::With { call: service.call(request) } },
            Maybe::Without(service) => MaybeFuture { state: State::Without { call: service.call(request) } },
        }
    }
}

pin_project! {
    /// A call of a [`Maybe`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct MaybeFuture<A, B> {
        #[pin]
        state: State<A, B>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<A, B> {
        With { #[pin] call: A },
        Without { #[pin] call: B },
    }
}

impl<A, B> Future for MaybeFuture<A, B>
where
    A: Future,
    B: Future<Output = A::Output>,
{
    type Output = A::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A::Output> {
        match self.project().state.project() {
            StateProj::With { call } => call.poll(cx),
            StateProj::Without { call } => call.poll(cx),
        }
    }
}
