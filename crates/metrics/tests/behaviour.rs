//! What is counted, under which labels, and that it is bounded.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not #[test] themselves

mod common;

use common::Seen;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use towpath_balance::BalanceEvent;
use towpath_core::{
    BoxError, Endpoint, EndpointId, Error, ErrorCode, ErrorKind, Fault, Observe, Request, Response,
    context::pick,
};
use towpath_metrics::{Metrics, MetricsConfig, MetricsLayer, MetricsOptions};
use towpath_retry::{GaveUp, RetryEvent};

async fn serve(request: Request) -> Result<Response, BoxError> {
    match request.method().name() {
        "Slow" => sleep(Duration::from_secs(3600)).await,
        "Lost" => return Err(Error::new(ErrorKind::ConnectionLost).into()),
        "Strange" => return Err("no word of ours".into()),
        "None" => return Err(Error::new(ErrorKind::UnknownMethod).into()),
        "Panics" => panic!("on purpose"),
        "Picked" => pick(EndpointId(7)),
        "Faulty" => {
            return Ok(Fault::new(ErrorCode::from_static("ORD-E-102"), "no").into());
        }
        _ => advance(Duration::from_millis(3)).await,
    }
    Ok(Response::new("".into()))
}

fn client(seen: &Seen) -> (Metrics, impl Fn(&'static str) -> Request, MetricsLayer) {
    let metrics = Metrics::to(seen.clone());
    let layer = MetricsLayer::client(&metrics, "orders");
    (metrics, |method| Request::new(method, "".into()), layer)
}

/// A service that panics before there is a future, called by a clone that is polled again, and by one that is dropped.
#[tokio::test(start_paused = true)]
async fn a_service_that_panics_at_once_is_counted_once() {
    let seen = Seen::default();
    let (metrics, request, layer) = client(&seen);
    let mut service = layer.layer(service_fn(|request: Request| {
        assert!(request.method().name() != "Panics", "on purpose");
        serve(request)
    }));
    let panics = async |service: &mut _| {
        let service: &mut towpath_metrics::Calls<_, _> = service;
        service.ready().await.unwrap();
        catch_unwind(AssertUnwindSafe(|| drop(service.call(request("A.Panics"))))).unwrap_err();
    };
    for _ in 0..2 {
        panics(&mut service.clone()).await;
    }
    panics(&mut service).await;
    metrics.refresh();
    assert_eq!(seen.last("towpath_client_calls_in_flight target=orders"), Some(1.0));
    service.ready().await.unwrap().call(request("A.Other")).await.unwrap();
    metrics.refresh();
    assert_eq!(seen.last("towpath_client_calls_in_flight target=orders"), Some(0.0));
    let name = |labels: &str| format!("rpc_client_call_duration_seconds target=orders rpc_method=A.{labels}");
    assert_eq!(seen.count(&name("Panics outcome=panicked error_type=panic")), 3, "{:?}", seen.counts());
    assert_eq!(seen.count(&name("Other outcome=ok")), 1);
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_by_method_and_outcome() {
    let seen = Seen::default();
    let (metrics, request, layer) = client(&seen);
    let mut service = layer.layer(service_fn(serve));
    for method in ["A.Ok", "A.Ok", "A.Lost", "A.Strange", "A.Faulty"] {
        let _ = service.ready().await.unwrap().call(request(method)).await;
    }
    let slow = service.call(request("A.Slow"));
    let mut slow = tokio_test::task::spawn(slow);
    assert!(slow.poll().is_pending());
    metrics.refresh();
    assert_eq!(seen.last("towpath_client_calls_in_flight target=orders"), Some(1.0));
    drop(slow);
    let panics = tokio::spawn(service.call(request("A.Panics"))).await;
    assert!(panics.unwrap_err().is_panic());
    metrics.refresh();
    metrics.refresh();

    let name = |labels: &str| format!("rpc_client_call_duration_seconds target=orders rpc_method=A.{labels}");
    let expected = [
        ("Ok outcome=ok", 2),
        ("Lost outcome=failed error_type=MCP-E-010", 1),
        ("Strange outcome=failed error_type=_OTHER", 1),
        ("Faulty outcome=fault error_type=ORD-E-102", 1),
        ("Slow outcome=cancelled error_type=cancelled", 1),
        ("Panics outcome=panicked error_type=panic", 1),
    ];
    for (labels, count) in expected {
        assert_eq!(seen.count(&name(labels)), count, "{labels}: {:?}", seen.counts());
    }
    let calls: usize =
        seen.counts().iter().filter(|(name, _)| name.starts_with("rpc_")).map(|(_, n)| n).sum();
    assert_eq!(calls, 7);
    assert!((seen.sum(&name("Ok outcome=ok")) - 0.006).abs() < 1e-9);
    assert_eq!(seen.last("towpath_client_calls_in_flight target=orders"), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_by_endpoint() {
    let seen = Seen::default();
    let metrics = Metrics::to(seen.clone());
    let layer = MetricsLayer::attempt(&metrics, "orders")
        .locate(|id| (id == EndpointId(7)).then(|| Arc::from("mcp://10.0.0.7:8080")));
    let service = layer.layer(service_fn(serve));
    let listen = towpath_core::context::Listen::new();
    service.clone().oneshot(Request::new("A.Picked", "".into())).await.unwrap();
    assert_eq!(listen.heard(), Some(EndpointId(7)), "who listens above hears it too");
    service.clone().oneshot(Request::new("A.Picked", "".into())).await.unwrap();
    service.oneshot(Request::new("A.Ok", "".into())).await.unwrap();
    metrics.refresh();
    let name = "towpath_client_attempt_duration_seconds target=orders rpc_method=A.";
    let picked = format!("{name}Picked endpoint=mcp://10.0.0.7:8080 outcome=ok");
    assert_eq!(
        (seen.count(&picked), seen.count(&format!("{name}Ok outcome=ok"))),
        (2, 1),
        "{:?}",
        seen.counts()
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_records_and_no_clock_is_read() {
    let look = service_fn(|request: Request| async move {
        Ok::<_, BoxError>(Response::new(request.context().stamp().is_some().to_string().into()))
    });
    let silent = MetricsLayer::client(&Metrics::new(), "orders").layer(look);
    assert_eq!(silent.oneshot(Request::new("A.B", "".into())).await.unwrap().body(), "false");
    let seen = Seen::default();
    let metrics = Metrics::to(seen.clone());
    let loud = MetricsLayer::client(&metrics, "orders").layer(look);
    let mut request = Request::new("A.B", "".into());
    let start = Instant::now();
    request.context_mut().set_stamp(Some(start));
    advance(Duration::from_secs(1)).await;
    assert_eq!(loud.oneshot(request).await.unwrap().body(), "true");
    metrics.refresh();
    let name = "rpc_client_call_duration_seconds target=orders rpc_method=A.B outcome=ok";
    assert_eq!(seen.sum(name), 1.0, "the reading that was there is used");
}

/// A recorder that is installed for this thread, later than the layer was made.
#[tokio::test(start_paused = true)]
async fn a_recorder_that_comes_later_is_found() {
    let metrics = Metrics::new();
    let service = MetricsLayer::server(&metrics, "").layer(service_fn(serve));
    service.clone().oneshot(Request::new("A.Ok", "".into())).await.unwrap();
    let seen = Seen::default();
    let _installed = metrics::set_default_local_recorder(&seen);
    service.oneshot(Request::new("A.Ok", "".into())).await.unwrap();
    metrics.refresh();
    assert_eq!(seen.count("rpc_server_call_duration_seconds rpc_method=A.Ok outcome=ok"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_strangers_ask_a_server_for_takes_no_place() {
    let seen = Seen::default();
    let metrics = Metrics::to(seen.clone());
    let service = MetricsLayer::server(&metrics, "").layer(service_fn(serve));
    for n in 0..10 {
        let method = format!("Stranger{n}.None");
        assert!(service.clone().oneshot(Request::new(method, "".into())).await.is_err());
    }
    metrics.refresh();
    let name = "rpc_server_call_duration_seconds rpc_method=other outcome=invalid error_type=MCP-E-004";
    assert_eq!(seen.count(name), 10, "{:?}", seen.counts());
}

#[test]
fn events_are_counted_and_bounded() {
    let seen = Seen::default();
    let config = MetricsOptions { max_series: 3, max_targets: 1 };
    let metrics = Metrics::to_with(seen.clone(), MetricsConfig::try_new(config).unwrap());
    let observer = metrics.observer("orders");
    for _ in 0..2 {
        observer.observe(&RetryEvent::Planned { attempt: 1, after: Duration::ZERO });
    }
    observer.observe(&RetryEvent::GaveUp { why: GaveUp::BudgetSpent, attempts: 2 });
    for n in 0..9 {
        let endpoint = Endpoint::new(format!("mcp://10.0.0.{n}:80"));
        observer.observe(&BalanceEvent::Ejected { endpoint, until: None });
    }
    metrics.observer("one too many").observe(&RetryEvent::HedgeWon { attempt: 1 });
    assert_eq!(seen.count("towpath_retry_attempts_total target=orders kind=retry"), 2);
    assert_eq!(seen.count("towpath_retry_gave_up_total target=orders reason=budget_spent"), 1);
    assert_eq!(seen.count("towpath_balance_ejections_total target=orders endpoint=mcp://10.0.0.0:80"), 1);
    assert_eq!(seen.count("towpath_balance_ejections_total target=other endpoint=other"), 6);
    assert_eq!(seen.count("towpath_retry_hedges_won_total target=other"), 1);
}

#[test]
fn gauges_are_read_until_the_watch_is_dropped() {
    let seen = Seen::default();
    let metrics = Metrics::to(seen.clone());
    let retry = towpath_retry::RetryLayer::new(towpath_retry::RetryConfig::default()).handle();
    let watching = metrics.watch("orders", move |gauges| gauges.retry(&retry));
    metrics.refresh();
    drop(watching);
    metrics.refresh();
    assert_eq!(seen.count("towpath_retry_budget_balance target=orders"), 1);
    assert_eq!(seen.last("towpath_retry_budget_balance target=orders"), Some(10.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_between_threads() {
    let seen = Seen::default();
    let metrics = Metrics::to(seen.clone());
    let layer = MetricsLayer::client(&metrics, "orders");
    let quick = service_fn(|_: Request| async { Ok::<_, BoxError>(Response::new("".into())) });
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (mut service, metrics) = (layer.layer(quick), metrics.clone());
            tokio::spawn(async move {
                for n in 0..5_000 {
                    service.call(Request::new("A.B", "".into())).await.unwrap();
                    if n % 500 == 0 {
                        metrics.refresh();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    metrics.refresh();
    assert_eq!(
        seen.count("rpc_client_call_duration_seconds target=orders rpc_method=A.B outcome=ok"),
        20_000
    );
}

#[test]
fn a_config_says_which_option_is_wrong() {
    let parse = |text: &str| serde_json::from_str::<MetricsConfig>(text).map_err(|error| error.to_string());
    assert_eq!(parse("{}").unwrap(), MetricsConfig::default());
    assert_eq!(parse(r#"{"max_series": 7}"#).unwrap().options().max_series, 7);
    assert!(parse(r#"{"max_series": 0}"#).unwrap_err().contains("max_series"));
    assert!(parse(r#"{"max_targets": 10001}"#).unwrap_err().contains("max_targets"));
    assert!(parse(r#"{"series": 1}"#).unwrap_err().contains("unknown field"));
}
