//! The breaker of an endpoint, below a balancer.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

mod common;

use common::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Waker},
};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, service_fn};
use towpath_breaker::{Breaker, BreakerConfig, BreakerLayer, State};
use towpath_core::{BoxError, Class, Classify, Endpoint, EndpointStatus, Error, ErrorKind};
use towpath_testing::time::timed;

fn endpoint() -> Endpoint {
    let endpoint = Endpoint::new("mcp://10.0.0.7:8080");
    endpoint.state().set_ready();
    endpoint
}

#[tokio::test(start_paused = true)]
async fn it_asks_for_ejection_while_it_is_not_closed() {
    let endpoint = endpoint();
    let state = endpoint.state();
    let mut bench =
        Bench::of(BreakerLayer::new(config(|o| o.probe_timeout = ms(3_000))).for_endpoint(&endpoint));
    bench.all(&[Good]).await;
    assert!(!state.asks_ejection());
    bench.trip().await;
    let at = |time| EndpointStatus::Ejected { until: Some(Instant::now() + ms(time)) };
    assert!(state.is_ready(), "nobody granted it");
    assert!(state.grant_ejection(true));
    assert_eq!(state.status(), at(5_000));
    let error = refusal((bench.service)(Good).await).unwrap();
    assert_eq!(error.endpoint(), Some("mcp://10.0.0.7:8080"));
    // The time has come: the balancer may try, and sees when all probes are out.
    advance(ms(5_000)).await;
    assert_eq!(state.status(), at(0));
    let probe = bench.start(Slow(100));
    assert_eq!(state.status(), at(3_000));
    drop(probe);
    let EndpointStatus::Ejected { until: Some(until) } = state.status() else { panic!("not ejected") };
    assert!(until <= Instant::now(), "another one may be tried");
    bench.all(&[Good]).await;
    assert_eq!(state.status(), EndpointStatus::Ready);
    bench.handle.force_open();
    state.grant_ejection(true);
    assert_eq!(state.status(), EndpointStatus::Ejected { until: None });
    bench.handle.force_close();
    assert_eq!(state.status(), EndpointStatus::Ready);
}

/// Pitfall 12, the gate's part: where too many are out, those that are open are called all the same, and their
/// probes decide as ever.
#[tokio::test(start_paused = true)]
async fn in_panic_an_open_gate_lets_calls_through() {
    let endpoint = endpoint();
    let mut bench = Bench::of(BreakerLayer::new(BreakerConfig::default()).for_endpoint(&endpoint));
    bench.trip().await;
    assert!(!bench.call(Good).await);
    endpoint.state().set_panic(true);
    bench.all(&[Good, Fail, Good]).await;
    assert_eq!((bench.state(), bench.handle.status().window.calls), (State::Open, 20), "they decide nothing");
    endpoint.state().set_panic(false);
    assert!(!bench.call(Good).await);
    endpoint.state().set_panic(true);
    advance(ms(5_000)).await;
    bench.all(&[Good]).await;
    assert_eq!(bench.state(), State::Closed);
}

/// Pitfall 11, as far as one crate shows it: of ten endpoints one is dead, and only that one asks to be out.
#[tokio::test(start_paused = true)]
async fn of_ten_endpoints_only_the_dead_one_is_out() {
    let template = BreakerLayer::new(BreakerConfig::default());
    let endpoints: Vec<_> = (0..10).map(|n| Endpoint::new(format!("mcp://10.0.0.{n}:1"))).collect();
    let mut benches: Vec<_> = endpoints.iter().map(|e| Bench::of(template.for_endpoint(e))).collect();
    for _ in 0..20 {
        for (n, bench) in benches.iter_mut().enumerate() {
            bench.all(&[if n == 3 { Fail } else { Good }]).await;
        }
    }
    for (n, endpoint) in endpoints.iter().enumerate() {
        assert_eq!(endpoint.state().asks_ejection(), n == 3);
    }
    assert_eq!(template.handle().status().window.calls, 0);
}

// As a gate.

type Gate = Breaker<tower::util::ServiceFn<fn(Do) -> Answering>, (), Meaning>;
#[derive(Clone)]
struct Meaning;

impl Classify<Do, BoxError> for Meaning {
    fn classify(&self, outcome: Result<&Do, &BoxError>) -> Class {
        meaning(outcome)
    }
}

type Answering = std::pin::Pin<Box<dyn Future<Output = Result<Do, BoxError>> + Send>>;

fn gate(layer: BreakerLayer) -> (Gate, towpath_breaker::BreakerHandle) {
    let layer = layer.as_gate().classify(Meaning);
    let inner: fn(Do) -> Answering = |what| Box::pin(backend(what));
    (layer.layer(service_fn(inner)), layer.handle())
}

async fn ready(gate: &mut Gate) {
    std::future::poll_fn(|cx| gate.poll_ready(cx)).await.unwrap();
}

async fn fail_until_open(gate: &mut Gate, handle: &towpath_breaker::BreakerHandle) {
    while handle.state() == State::Closed {
        ready(gate).await;
        assert!(gate.call(Fail).await.is_err());
    }
}

fn is_ready(gate: &mut Gate) -> bool {
    gate.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[tokio::test(start_paused = true)]
async fn a_shut_gate_is_not_ready_until_a_probe_is_let_through() {
    let (mut one, handle) = gate(BreakerLayer::new(config(|_| ())));
    let mut two = one.clone();
    fail_until_open(&mut one, &handle).await;
    assert!(!is_ready(&mut one) && !is_ready(&mut two));
    let ((), took) = timed(ready(&mut one)).await;
    assert!((ms(5_000)..=ms(5_001)).contains(&took), "{took:?}");
    assert_eq!(handle.state(), State::HalfOpen);
    assert!(!is_ready(&mut two), "the one probe is taken");
    assert!(is_ready(&mut one));

    // The readied clone goes, unused: the probe is another's.
    let mut second = task::spawn(async {
        ready(&mut two).await;
        two.call(Good).await
    });
    assert_pending!(second.poll());
    drop(one);
    assert!(second.is_woken());
    assert!(assert_ready!(second.poll()).is_ok());
    assert_eq!(handle.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn who_waits_at_a_gate_is_woken_when_it_opens() {
    let (mut one, handle) = gate(BreakerLayer::new(config(|_| ())));
    fail_until_open(&mut one, &handle).await;
    let waiting = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (mut gate, waiting) = (one.clone(), waiting.clone());
            tokio::spawn(async move {
                waiting.fetch_add(1, SeqCst);
                ready(&mut gate).await;
                gate.call(Slow(100)).await.unwrap();
                Instant::now()
            })
        })
        .collect();
    let start = Instant::now();
    let mut ends = Vec::new();
    for task in tasks {
        ends.push((task.await.unwrap() - start).as_millis());
    }
    ends.sort_unstable();
    // One probe, then all others at once.
    assert!((5_100..=5_102).contains(&ends[0]) && (5_200..=5_203).contains(&ends[1]), "{ends:?}");
    assert!(ends[49] <= 5_203, "{ends:?}");
    assert_eq!(waiting.load(SeqCst), 50);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_was_ready_keeps_its_word() {
    let (mut one, handle) = gate(BreakerLayer::new(config(|_| ())));
    let mut two = one.clone();
    ready(&mut two).await;
    fail_until_open(&mut one, &handle).await;
    assert!(two.call(Good).await.is_ok(), "never MCP-W-105");
    assert_eq!(handle.state(), State::Open, "and it decides nothing");
    assert_eq!(handle.rejected(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_gate_lets_a_growing_share_through() {
    let (mut one, handle) = gate(BreakerLayer::new(config(|o| o.ramp = ms(1_000))));
    fail_until_open(&mut one, &handle).await;
    ready(&mut one).await;
    one.call(Good).await.unwrap();
    let start = Instant::now();
    let mut calls = 0;
    while start.elapsed() < ms(1_000) {
        ready(&mut one).await;
        one.call(Good).await.unwrap();
        calls += 1;
    }
    // A caller that never rests waits a twentieth of the ramp whenever it is not its turn.
    assert!((20..=80).contains(&calls), "{calls}");
    assert_eq!(handle.status().tripped.failures, 20);
}

#[tokio::test(start_paused = true)]
async fn a_gate_in_panic_is_ready() {
    let endpoint = endpoint();
    let (mut one, handle) = gate(BreakerLayer::new(config(|_| ())).for_endpoint(&endpoint));
    fail_until_open(&mut one, &handle).await;
    assert!(!is_ready(&mut one));
    endpoint.state().set_panic(true);
    let mut fresh = one.clone();
    assert!(is_ready(&mut fresh));
    assert!(fresh.call(Good).await.is_ok());
    assert_eq!(handle.state(), State::Open);
}

/// An inner service that is not ready holds up no probe, and one that has failed says so.
#[tokio::test(start_paused = true)]
async fn the_inner_service_is_readied_before_a_probe_is_taken() {
    #[derive(Clone)]
    struct Never(Option<ErrorKind>);
    impl Service<Do> for Never {
        type Response = Do;
        type Error = BoxError;
        type Future = std::future::Ready<Result<Do, BoxError>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
            match self.0 {
                Some(kind) => std::task::Poll::Ready(Err(Error::new(kind).into())),
                None => std::task::Poll::Pending,
            }
        }
        fn call(&mut self, _: Do) -> Self::Future {
            panic!("not ready")
        }
    }
    let layer = BreakerLayer::new(config(|_| ())).as_gate().classify(meaning);
    let handle = layer.handle();
    handle.force_open();
    handle.automatic();
    let mut never = task::spawn(layer.layer(Never(None)));
    assert_pending!(never.enter(|cx, mut service| service.poll_ready(cx)));
    assert_eq!((handle.state(), handle.status().changes), (State::Open, 2));
    let mut broken = task::spawn(layer.layer(Never(Some(ErrorKind::Draining))));
    let error = assert_ready!(broken.enter(|cx, mut service| service.poll_ready(cx))).unwrap_err();
    assert!(error.to_string().starts_with("MCP-W-108"), "{error}");
}
