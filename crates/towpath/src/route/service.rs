//! Where a client's calls go, as a service.

use super::cluster::Cluster;
use crate::channel::{Channel, ChannelFuture};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::{BoxError, Error, Request, Response};

/// Where a client's calls go: to one address, over a [`Channel`], or to the endpoints of a name, over a balancer. It
/// stands at the bottom of the stack, and a client's layers stand around it.
///
/// It is a `Service<Request>`, always ready.
#[derive(Clone)]
pub struct Route(pub(crate) Kind);

#[derive(Clone)]
#[allow(clippy::large_enum_variant)] // there are few of them
pub(crate) enum Kind {
    One(Channel),
    Many(Cluster),
}

type Balanced = <super::cluster::Inner as Service<Request>>::Future;

pin_project! {
    /// The answer of one call over a [`Route`].
    ///
    /// Cancel safety: dropping it gives the call up; if it was sent, the callee is told.
    #[must_use = "futures do nothing unless polled"]
    pub struct RouteFuture {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProj]
    enum State {
        One { #[pin] call: ChannelFuture },
        Many { #[pin] call: Balanced },
        Refused { error: Option<Error> },
    }
}

#[inline]
fn many(cluster: &mut Cluster, request: Request) -> RouteFuture {
    if let Some(error) = cluster.refusal() {
        return RouteFuture { state: State::Refused { error: Some(error) } };
    }
    RouteFuture { state: State::Many { call: cluster.balance.call(request) } }
}

impl Service<Request> for Route {
    type Response = Response;
    type Error = BoxError;
    type Future = RouteFuture;

    /// Always ready: what a call has to wait for, it waits for in its future.
    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    // Not inlined: the branch would be in the way of who puts the future into its place.
    #[inline(never)]
    fn call(&mut self, request: Request) -> RouteFuture {
        match &mut self.0 {
            Kind::One(channel) => RouteFuture { state: State::One { call: channel.call(request) } },
            Kind::Many(cluster) => many(cluster, request),
        }
    }
}

impl Future for RouteFuture {
    type Output = Result<Response, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::One { call } => call.poll(cx).map_err(BoxError::from),
            StateProj::Many { call } => call.poll(cx),
            StateProj::Refused { error } => match error.take() {
                Some(error) => Poll::Ready(Err(error.into())),
                None => Poll::Pending,
            },
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::One(channel) => channel.fmt(f),
            Kind::Many(cluster) => cluster.fmt(f),
        }
    }
}

impl fmt::Debug for RouteFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RouteFuture")
    }
}
