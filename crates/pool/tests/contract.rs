//! Both pools keep the contract: each is made a layer by connections that are clones of the service below.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    future::{Future, Pending, Ready, pending, ready},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tower::{ServiceExt, util::Oneshot};
use tower_layer::Layer;
use tower_service::Service;
use towpath_core::{BoxError, Context as CallContext, Request, Response};
use towpath_pool::{
    Call, Connection, Ended, Exclusive, ExclusiveFuture, ExclusivePool, Multiplexed, PoolBuilder, PoolConfig,
    PoolOptions, SharedFuture, SharedPool,
};
use towpath_testing::{Contract, assert_send, assert_sync, assert_unpin, contract::Probe};

/// A connection whose calls are those of a clone of the service. In the mutex for it is shared, and the service need not be.
struct Pipe<S> {
    service: Mutex<S>,
    in_flight: Arc<AtomicUsize>,
}

impl<S: Send + 'static> Connection for Pipe<S> {
    type Closed = Pending<Ended>;

    fn is_closing(&self) -> bool {
        false
    }

    fn closed(&self) -> Pending<Ended> {
        pending()
    }

    fn close(&self) {}

    fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }
}

/// Counts itself.
struct Counted<F> {
    call: Pin<Box<F>>,
    in_flight: Arc<AtomicUsize>,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.call.as_mut().poll(cx)
    }
}

impl<F> Drop for Counted<F> {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, SeqCst);
    }
}

impl<S> Call<Request> for Pipe<S>
where
    S: Service<Request, Response = Response, Error = BoxError> + Clone + Send + 'static,
{
    type Response = Response;
    type Error = BoxError;
    type Future = Counted<Oneshot<S, Request>>;

    fn context(request: &Request) -> Option<&CallContext> {
        Some(request.context())
    }
}

impl<S> Pipe<S>
where
    S: Service<Request, Response = Response, Error = BoxError> + Clone + Send + 'static,
{
    fn begin(&self, request: Request) -> Counted<Oneshot<S, Request>> {
        self.in_flight.fetch_add(1, SeqCst);
        let call = Box::pin(self.service.lock().unwrap().clone().oneshot(request));
        Counted { call, in_flight: self.in_flight.clone() }
    }
}

impl<S> Multiplexed<Request> for Pipe<S>
where
    S: Service<Request, Response = Response, Error = BoxError> + Clone + Send + 'static,
{
    fn call(&self, request: Request) -> Self::Future {
        self.begin(request)
    }
}

impl<S> Exclusive<Request> for Pipe<S>
where
    S: Service<Request, Response = Response, Error = BoxError> + Clone + Send + 'static,
{
    fn call(&mut self, request: Request) -> Self::Future {
        self.begin(request)
    }
}

type Connecting<S> = Ready<Result<Pipe<S>, BoxError>>;

/// Connections are there at once: what waits, waits for the pool.
fn connects<S: Clone + Send + 'static>(service: S) -> impl Fn() -> Connecting<S> + Send + Sync {
    let service = Mutex::new(service);
    move || {
        let service = Mutex::new(service.lock().unwrap().clone());
        ready(Ok(Pipe { service, in_flight: Arc::default() }))
    }
}

#[derive(Clone)]
struct Shared(PoolConfig, bool);

impl<S> Layer<S> for Shared
where
    S: Service<Request, Response = Response, Error = BoxError> + Clone + Send + 'static,
{
    type Service = SharedPool<Pipe<S>>;

    fn layer(&self, inner: S) -> Self::Service {
        let builder = PoolBuilder::new(connects(inner)).config(self.0.clone());
        if self.1 { builder.waits_in_ready().shared() } else { builder.shared() }
    }
}

#[derive(Clone)]
struct OneByOne(PoolConfig, bool);

impl<S> Layer<S> for OneByOne
where
    S: Service<Request, Response = Response, Error = BoxError> + Clone + Send + 'static,
{
    type Service = ExclusivePool<Pipe<S>>;

    fn layer(&self, inner: S) -> Self::Service {
        let builder = PoolBuilder::new(connects(inner)).config(self.0.clone());
        if self.1 { builder.waits_in_ready().exclusive() } else { builder.exclusive() }
    }
}

/// A call waits for a second: where the kit has one wait for another that it does not poll, that one gives up.
fn config(max: u32, share: u32) -> PoolConfig {
    let options = PoolOptions {
        max,
        calls_per_connection: share,
        acquire_timeout: Duration::from_secs(1),
        ..PoolOptions::default()
    };
    PoolConfig::try_new(options).unwrap()
}

#[test]
fn the_shared_pool() {
    for (max, share, in_ready) in [(1, 1_024, false), (4, 2, false), (4, 2, true), (1, 1, true)] {
        Contract::new(move || Shared(config(max, share), in_ready)).verify();
    }
}

#[test]
fn the_exclusive_pool_is_a_limit() {
    for in_ready in [false, true] {
        for max in [1, 3] {
            Contract::new(move || OneByOne(config(max, 1), in_ready)).limits_to(max as usize).verify();
        }
    }
}

#[test]
fn with_a_limit_below_and_above() {
    use tower::limit::ConcurrencyLimitLayer;
    for in_ready in [false, true] {
        let pool = move || OneByOne(config(3, 1), in_ready);
        Contract::new(move || (pool(), ConcurrencyLimitLayer::new(2))).limits_to(2).verify();
        Contract::new(move || (ConcurrencyLimitLayer::new(2), pool())).limits_to(2).verify();
        let pool = move || Shared(config(3, 1), in_ready);
        Contract::new(move || (pool(), ConcurrencyLimitLayer::new(2))).limits_to(2).verify();
        Contract::new(move || (ConcurrencyLimitLayer::new(2), pool())).limits_to(2).verify();
    }
}

#[test]
fn the_auto_traits() {
    type Inner = Pipe<Probe<Request, Response>>;
    assert_send::<SharedPool<Inner>>();
    assert_sync::<SharedPool<Inner>>();
    assert_unpin::<SharedPool<Inner>>();
    assert_send::<SharedFuture<Inner, Request>>();
    assert_send::<ExclusivePool<Inner>>();
    assert_sync::<ExclusivePool<Inner>>();
    assert_unpin::<ExclusivePool<Inner>>();
    assert_send::<ExclusiveFuture<Inner, Request>>();
    assert_send::<PoolBuilder<Inner>>();
}
