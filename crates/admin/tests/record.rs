//! The recording layers.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::rig;
use std::time::Duration;
use tokio::time::{advance, timeout};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use towpath_admin::{RecordConfig, Recorder};
use towpath_balance::{BalanceConfig, Balancer};
use towpath_core::{
    BoxError, Endpoint, Error, ErrorKind, Fixed, Request, Response,
    context::{TraceContext, TraceId},
};

#[tokio::test(start_paused = true)]
async fn each_call_is_counted_once_however_it_ends() {
    let mut rig = rig();
    for method in ["Shop.Sell", "Shop.Sell", "Shop.Refuse", "Shop.Lose"] {
        let _ = rig.call(method).await;
    }
    timeout(Duration::from_millis(5), rig.call("Shop.Wait")).await.unwrap_err();
    advance(Duration::from_secs(1)).await;
    let traffic = rig.recorder.traffic();
    assert_eq!((traffic.calls, traffic.faults, traffic.failed, traffic.cancelled), (4, 1, 1, 1));
    assert_eq!(traffic.success, Some(0.5));
    assert!(traffic.attempts.unwrap() > 1.0, "{traffic:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_keeps_its_trace_and_one_without_gets_one_for_all_attempts() {
    let recorder = Recorder::new(RecordConfig::default().with_sample(1.0).unwrap());
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sees = seen.clone();
    let mut stack = ServiceBuilder::new()
        .layer(recorder.calls())
        .layer(towpath_retry::RetryLayer::new(towpath_retry::RetryConfig::default()).honour_context())
        .layer(recorder.attempts())
        .service(service_fn(move |request: Request| {
            sees.lock().unwrap().push(request.context().trace().unwrap());
            async { Err::<Response, BoxError>(Error::from(ErrorKind::ConnectionLost).into()) }
        }));
    let own = TraceContext { trace_id: TraceId(7), ..TraceContext::random(true) };
    for trace in [Some(own), None] {
        seen.lock().unwrap().clear();
        let mut request = Request::new("A.B", Bytes::new());
        request.context_mut().set_idempotent(true);
        request.context_mut().set_trace(trace);
        stack.ready().await.unwrap().call(request).await.unwrap_err();
        let fault = recorder.faults(1).remove(0);
        let seen = seen.lock().unwrap();
        assert!(seen.len() > 1);
        assert!(seen.iter().all(|one| one.trace_id.to_string() == fault.trace_id), "{seen:?}");
        match trace {
            Some(own) => assert!(seen.iter().all(|one| *one == own)),
            None => assert!(seen.iter().all(|one| !one.is_sampled())),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_is_named_and_what_else_there_was() {
    let recorder = Recorder::new(RecordConfig::default().with_sample(1.0).unwrap());
    let endpoints = ["mcp://10.0.0.7:1", "mcp://10.0.0.8:1"].map(Endpoint::new);
    endpoints.iter().for_each(|endpoint| endpoint.state().set_ready());
    let stacks = |endpoint: Endpoint| {
        service_fn(move |_: Request| {
            let at = endpoint.address().clone();
            async move { Err::<Response, BoxError>(Error::new(ErrorKind::HandlerFailed).at(at).into()) }
        })
    };
    let balance =
        Balancer::new(BalanceConfig::default()).honour_context().over(Fixed::new(endpoints), stacks);
    recorder.follow(balance.handle());
    let mut stack = ServiceBuilder::new().layer(recorder.calls()).layer(recorder.attempts()).service(balance);
    stack.ready().await.unwrap().call(Request::new("A.B", Bytes::new())).await.unwrap_err();
    let fault = recorder.faults(1).remove(0);
    assert!(fault.endpoint.starts_with("mcp://10.0.0."), "{fault:?}");
    let explained = recorder.explain(&fault.trace_id).unwrap();
    let said = explained.decisions.iter().map(|one| one.what.clone()).collect::<Vec<_>>().join("\n");
    assert!(said.contains(&format!("attempt 1 goes to {}", fault.endpoint)), "{said}");
    assert!(said.contains("2 of 2 endpoints take calls; taken: "), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_the_sample_is_explained_though_it_ended_well() {
    let kept = RecordConfig::default().with_kept(1, 2).unwrap();
    for (sample, is_kept) in [(1.0, true), (0.0, false)] {
        let recorder = Recorder::new(kept.with_sample(sample).unwrap());
        let mut stack = ServiceBuilder::new().layer(recorder.calls()).layer(recorder.attempts()).service(
            service_fn(async |_: Request| {
                tokio::time::sleep(Duration::from_millis(3)).await;
                Ok::<_, BoxError>(Response::new(Bytes::new()))
            }),
        );
        for id in 1..=4 {
            let mut request = Request::new("A.B", Bytes::new());
            let trace = TraceContext { trace_id: TraceId(id), ..TraceContext::random(false) };
            request.context_mut().set_trace(Some(trace));
            stack.ready().await.unwrap().call(request).await.unwrap();
        }
        let explain = |id| recorder.explain(&TraceId(id).to_string());
        assert!(explain(2).is_none(), "two newer ones have taken its place");
        let Some(explained) = explain(3) else {
            assert!(!is_kept);
            continue;
        };
        assert!(is_kept);
        assert_eq!((&*explained.method, &*explained.outcome), ("A.B", "ok"));
        assert_eq!((explained.took_us, explained.attempts, explained.sampled), (3_000, 1, true));
        let said: Vec<_> = explained.decisions.iter().map(|one| &*one.what).collect();
        assert_eq!(
            said[1..],
            ["attempt 1 goes to the service", "it is answered, 3.0 ms later", "the call ends with ok"]
        );
        assert!(recorder.faults(9).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn methods_are_counted_apart_but_for_those_that_do_not_exist() {
    let recorder = Recorder::default();
    let mut stack =
        ServiceBuilder::new().layer(recorder.calls()).service(service_fn(async |request: Request| {
            match request.method().as_str() {
                "A.Unknown" => Err(Error::from(ErrorKind::UnknownMethod)),
                "A.Lose" => Err(Error::from(ErrorKind::ConnectionLost)),
                _ => Ok(Response::new(Bytes::new())),
            }
        }));
    for method in ["A.Sell", "A.Lose", "A.Sell", "A.Unknown", "A.Lose", "A.Sell"] {
        let _ = stack.ready().await.unwrap().call(Request::new(method, Bytes::new())).await;
    }
    let seen: Vec<_> =
        recorder.methods().into_iter().map(|one| (one.name, one.calls, one.failed, one.success)).collect();
    let of = |name: &str, calls, failed, success| (name.to_owned(), calls, failed, Some(success));
    assert_eq!(seen, [of("A.Sell", 3, 0, 1.0), of("A.Lose", 2, 2, 0.0), of("", 1, 1, 0.0)]);
    // A fault has its method, which has a place by now.
    let methods: Vec<_> = recorder.faults(9).into_iter().map(|fault| fault.method).collect();
    assert_eq!(methods, ["A.Lose", "A.Unknown", "A.Lose"]);
}

#[tokio::test(start_paused = true)]
async fn the_memory_is_bounded() {
    let recorder = Recorder::new(RecordConfig::default().with_kept(3, 3).unwrap());
    let mut stack = ServiceBuilder::new().layer(recorder.calls()).service(service_fn(async |_: Request| {
        Err::<Response, Error>(Error::new(ErrorKind::Overloaded).because("x".repeat(100_000)))
    }));
    for _ in 0..10 {
        stack.ready().await.unwrap().call(Request::new("A.B", Bytes::new())).await.unwrap_err();
    }
    let faults = recorder.faults(100);
    assert_eq!(faults.len(), 3);
    assert!(faults[0].chain[0].len() < 2_000);
}
