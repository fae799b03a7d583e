//! Breakers seen and handled while they run.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

mod common;

use common::*;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use tokio::time::{advance, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use towpath_breaker::{BreakerConfig, BreakerEvent, BreakerLayer, Mode, Reason, State, Window};
use towpath_core::{BoxError, Error, ErrorKind, Live, Request, Response};

#[tokio::test(start_paused = true)]
async fn opened_by_hand_and_left_to_itself_again() {
    let mut bench = Bench::new(BreakerConfig::default());
    bench.all(&[Good]).await;
    bench.handle.force_open();
    bench.handle.force_open();
    advance(ms(3_600_000)).await;
    let error = refusal((bench.service)(Good).await).unwrap();
    assert!(error.to_string().contains("opened by hand"), "{error}");
    assert_eq!(error.retry_after(), None, "nobody knows");
    assert_eq!((bench.state(), bench.handle.status().mode), (State::Open, Mode::ForcedOpen));
    bench.handle.automatic();
    bench.all(&[Good]).await;
    let by_hand = |state| (state, Reason::Forced);
    assert_eq!(
        bench.changes(),
        [
            by_hand(State::Open),
            by_hand(State::Open),
            (State::HalfOpen, Reason::ProbeTime),
            (State::Closed, Reason::Recovered)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn closed_by_hand_counts_on() {
    let mut bench = Bench::new(BreakerConfig::default());
    bench.trip().await;
    bench.handle.force_close();
    bench.all(&[Fail; 50]).await;
    let status = bench.handle.status();
    assert_eq!((status.state, status.mode, status.window.failures), (State::Closed, Mode::ForcedClosed, 50));
    bench.handle.automatic();
    assert_eq!(bench.state(), State::Closed);
    bench.all(&[Fail]).await;
    assert_eq!(bench.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_probe_from_before_it_was_opened_by_hand_decides_nothing() {
    let mut bench = Bench::new(BreakerConfig::default());
    bench.trip().await;
    advance(ms(5_000)).await;
    let probe = bench.start(Slow(100));
    bench.handle.force_open();
    sleep(ms(100)).await;
    probe.await.unwrap();
    assert_eq!(bench.state(), State::Open);
    bench.handle.automatic();
    let probe = bench.start(Slow(100));
    bench.handle.force_close();
    drop(probe);
    bench.all(&[Good]).await;
    assert_eq!(bench.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_waited_for() {
    let mut bench = Bench::new(BreakerConfig::default());
    let mut watch = bench.handle.watch();
    let waiting = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < 3 {
            watch.changed().await.unwrap();
            let change = watch.borrow_and_update().clone().unwrap();
            seen.push((change.number, change.from, change.to, change.reason, change.counts.failures));
        }
        seen
    });
    tokio::task::yield_now().await;
    bench.trip().await;
    sleep(ms(5_000)).await;
    let probe = bench.start(Slow(100));
    sleep(ms(100)).await;
    probe.await.unwrap();
    assert_eq!(
        waiting.await.unwrap(),
        [
            (1, State::Closed, State::Open, Reason::FailureRate, 20),
            (2, State::Open, State::HalfOpen, Reason::ProbeTime, 20),
            (3, State::HalfOpen, State::Closed, Reason::Recovered, 20),
        ]
    );
    assert_eq!(bench.handle.status().changes, 3);
}

#[tokio::test(start_paused = true)]
async fn the_config_is_replaced_while_it_runs() {
    let live = Live::new(config(|_| ()));
    let mut bench = Bench::of(BreakerLayer::new(live.clone()));
    bench.all(&[Fail; 10]).await;
    let refused = live.update(|_| serde_json::from_str::<BreakerConfig>(r#"{"probes": 0}"#)).unwrap_err();
    assert!(refused.to_string().starts_with("probes: 0 is not from 1 to 1000"), "{refused}");
    // The same window: what was counted stays.
    live.set(config(|o| o.min_calls = 11));
    bench.all(&[Fail]).await;
    assert_eq!(bench.state(), State::Open);
    live.set(config(|o| o.probes = 2));
    advance(ms(5_000)).await;
    bench.all(&[Good]).await;
    assert_eq!(bench.state(), State::HalfOpen);
    bench.all(&[Good]).await;
    assert_eq!(bench.state(), State::Closed);
    // Another window begins anew.
    bench.all(&[Fail; 10]).await;
    live.set(config(|o| (o.window, o.min_calls) = (Window::Calls(20), 5)));
    bench.all(&[Fail; 4]).await;
    assert_eq!(bench.handle.status().window.calls, 4);
    live.set(config(|o| (o.slow, o.slow_rate) = (Some(ms(10)), 0.5)));
    for _ in 0..19 {
        bench.all(&[Slow(10)]).await;
    }
    assert_eq!(bench.state(), State::Closed);
    bench.all(&[Slow(10)]).await;
    assert_eq!(bench.state(), State::Open);
}

type Handler = fn(Request) -> std::future::Ready<Result<Response, BoxError>>;

/// Methods that begin with "Bad" fail.
fn handler() -> tower::util::ServiceFn<Handler> {
    service_fn(|request: Request| {
        let bad = request.method().as_str().starts_with("Bad");
        let good = || Ok(Response::new("good".into()));
        std::future::ready(if bad { Err(Error::new(ErrorKind::ConnectionLost).into()) } else { good() })
    })
}

fn to(method: &str) -> Request {
    Request::new(method.to_string(), Default::default())
}

/// Pitfall 11, as far as one crate shows it: only the method that is broken everywhere opens.
#[tokio::test(start_paused = true)]
async fn a_broken_method_opens_alone() {
    let layer = BreakerLayer::new(BreakerConfig::prompt()).per_method().honour_context();
    let breakers = layer.handle();
    let service = layer.layer(handler());
    for _ in 0..20 {
        assert!(service.clone().oneshot(to("Bad.Get")).await.is_err());
        assert!(service.clone().oneshot(to("Good.Get")).await.is_ok());
    }
    let error = service.clone().oneshot(to("Bad.Get")).await.unwrap_err();
    assert!(error.to_string().contains("Bad.Get: 20 of 20 calls failed, next probe in"), "{error}");
    assert!(service.clone().oneshot(to("Good.Get")).await.is_ok());
    assert!(service.clone().oneshot(to("Bad.Set")).await.unwrap_err().to_string().contains("MCP-E-010"));
    let states: Vec<_> =
        breakers.all().into_iter().map(|breaker| (breaker.name().to_string(), breaker.state())).collect();
    let (bad, good, set) = ("Bad.Get".to_string(), "Good.Get".to_string(), "Bad.Set".to_string());
    assert_eq!(states, [(bad, State::Open), (good, State::Closed), (set, State::Closed)]);
    assert_eq!(breakers.overflow().status().window.calls, 0);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_all_keys_share_one_breaker() {
    let events = Arc::new(AtomicUsize::new(0));
    let count = events.clone();
    let names = Arc::new(Mutex::new(Vec::new()));
    let note = names.clone();
    let layer = BreakerLayer::new(BreakerConfig::prompt())
        .keyed_by(|request: &Request| request.method().as_str(), 2)
        .observe(move |event: &BreakerEvent| match event {
            BreakerEvent::KeysExhausted { limit: 2 } => drop(count.fetch_add(1, SeqCst)),
            BreakerEvent::Changed(change) => note.lock().unwrap().push(change.name.to_string()),
            _ => {}
        });
    let breakers = layer.handle();
    let service = layer.layer(handler());
    for n in 0..100 {
        let _ = service.clone().oneshot(to(&format!("Good.{n}"))).await;
    }
    for n in 0..20 {
        assert!(service.clone().oneshot(to(&format!("Bad.{n}"))).await.is_err());
    }
    assert_eq!(breakers.keys(), ["Good.0".into(), "Good.1".into()]);
    assert_eq!((breakers.overflow().state(), events.load(SeqCst)), (State::Closed, 1), "98 were good");
    for _ in 0..100 {
        let _ = service.clone().oneshot(to("Bad.Again")).await;
    }
    assert_eq!(breakers.overflow().state(), State::Open);
    assert!(service.clone().oneshot(to("Good.99")).await.is_err(), "the price");
    assert!(service.clone().oneshot(to("Good.1")).await.is_ok());
    assert_eq!((events.load(SeqCst), &**names.lock().unwrap()), (1, &["(other keys)".to_string()][..]));
    assert!(breakers.get("Good.2").is_none() && breakers.get_or_make("Good.2").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_key_is_opened_in_advance() {
    let layer = BreakerLayer::new(BreakerConfig::prompt()).per_method();
    let mut service = layer.layer(handler());
    assert!(layer.handle().get("Good.Get").is_none());
    layer.handle().get_or_make("Good.Get").unwrap().force_open();
    assert!(service.call(to("Good.Get")).await.is_err());
    assert!(service.call(to("Good.Set")).await.is_ok());
}

/// Clones, and services that the layer made one after another, are the same breaker.
#[tokio::test(start_paused = true)]
async fn all_services_of_a_layer_share_its_breakers() {
    let layer = BreakerLayer::new(BreakerConfig::default());
    let (mut one, mut two) = (layer.layer(handler()), layer.clone().layer(handler()));
    for _ in 0..10 {
        assert!(one.call(to("Bad.Get")).await.is_err());
        assert!(two.clone().call(to("Bad.Get")).await.is_err());
    }
    assert_eq!(layer.handle().state(), State::Open);
    assert!(two.call(to("Good.Get")).await.unwrap_err().to_string().starts_with("MCP-W-105"));
    assert!(one.call(to("Good.Get")).await.unwrap_err().to_string().starts_with("MCP-W-105"));
    let another = layer.observe(());
    assert_eq!(another.handle().state(), State::Closed);
}
