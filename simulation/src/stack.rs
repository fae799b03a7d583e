//! A client: the layers of production, down to the connection, which is simulated.

use crate::{
    picker::Choice,
    tower_p2c::{TowerBalance, tower_balance},
    world::{Link, Server},
};
use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use towpath_balance::{BalanceConfig, Balancer};
use towpath_breaker::{BreakerConfig, BreakerLayer};
use towpath_core::{BoxError, Endpoint, Error, Fixed, Request, Response};
use towpath_pool::{PoolBuilder, SharedPool};
use towpath_retry::{RetryConfig, RetryLayer};

/// What a call comes to.
pub(crate) type Outcome = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

/// One client, whatever its types are.
pub(crate) trait Caller: Send + Sync {
    fn call(&self, request: Request) -> Outcome;
}

struct Client<S>(Mutex<S>);

impl<S> Caller for Client<S>
where
    S: Service<Request, Response = Response, Error = BoxError> + Send,
    S::Future: Send + 'static,
{
    fn call(&self, request: Request) -> Outcome {
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => Box::pin(std::future::ready(Err(error))),
            // A balancer is always ready.
            _ => Box::pin(service.call(request)),
        }
    }
}

/// One server as a client knows it.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) endpoint: Endpoint,
    pub(crate) server: Arc<Server>,
}

/// Which of the layers there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layers {
    pub(crate) breaker: bool,
    pub(crate) retry: bool,
}

/// Puts a client together. `since` is when the simulation began.
pub(crate) fn client(choice: Choice, layers: Layers, known: Vec<Known>, since: Instant) -> Box<dyn Caller> {
    let servers: HashMap<_, _> =
        known.iter().map(|known| (known.endpoint.id(), known.server.clone())).collect();
    let endpoints: Vec<_> = known.into_iter().map(|known| known.endpoint).collect();
    let pool = move |endpoint: &Endpoint| -> SharedPool<Link> {
        let server = servers.get(&endpoint.id()).cloned();
        let connect = move || {
            let server = server.clone();
            async move {
                let Some(server) = server else { return std::future::pending().await };
                server.accept(since).await.map(Link)
            }
        };
        PoolBuilder::new(connect).endpoint(endpoint.clone()).waits_in_ready().shared()
    };
    if layers.breaker {
        let breaker = BreakerLayer::new(BreakerConfig::default()).honour_context().as_gate();
        let make = move |endpoint: Endpoint| breaker.for_endpoint(&endpoint).layer(pool(&endpoint));
        balance(choice, layers, endpoints, make)
    } else {
        balance(choice, layers, endpoints, move |endpoint: Endpoint| Boxed(pool(&endpoint)))
    }
}

/// Puts a balancer over the stacks of the endpoints, which are the same whose balancer it is.
fn balance<N, S>(choice: Choice, layers: Layers, endpoints: Vec<Endpoint>, make: N) -> Box<dyn Caller>
where
    N: Fn(Endpoint) -> S + Send + 'static,
    S: Service<Request, Response = Response, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    match choice {
        Choice::Picker(picker) => {
            let balancer = Balancer::new(BalanceConfig::default()).pick_by(picker).honour_context();
            let balance = balancer.over(Fixed::new(endpoints), make);
            balance.start();
            attempts(layers, balance)
        }
        Choice::Tower(load) => {
            let balance: TowerBalance = tower_balance(load, endpoints.into_iter().map(make).collect());
            attempts(layers, balance)
        }
    }
}

fn attempts<S>(layers: Layers, balance: S) -> Box<dyn Caller>
where
    S: Service<Request, Response = Response, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    if !layers.retry {
        return Box::new(Client(Mutex::new(balance)));
    }
    let layer = RetryLayer::new(RetryConfig::default()).honour_context().inner_keeps_deadlines();
    Box::new(Client(Mutex::new(layer.layer(balance))))
}

/// Without a breaker: only the error is made what the others have.
#[derive(Clone)]
struct Boxed<S>(S);

impl<S> Service<Request> for Boxed<S>
where
    S: Service<Request, Response = Response, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = BoxError;
    type Future = Outcome;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(BoxError::from)
    }

    fn call(&mut self, request: Request) -> Outcome {
        let answer = self.0.call(request);
        Box::pin(async move { answer.await.map_err(BoxError::from) })
    }
}
