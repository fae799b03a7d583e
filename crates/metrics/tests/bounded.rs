//! However many methods there are, labels and memory are bounded. A program of its own, since it looks at its memory.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

mod common;

use common::Seen;
use std::fs;
use tower::{Layer, Service, service_fn};
use towpath_core::{BoxError, Error, ErrorKind, Request, Response};
use towpath_metrics::{Metrics, MetricsConfig, MetricsLayer, MetricsOptions};

fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_methods_are_bounded() {
    let seen = Seen::default();
    let config = MetricsOptions { max_series: 100, ..MetricsOptions::default() };
    let metrics = Metrics::to_with(seen.clone(), MetricsConfig::try_new(config).unwrap());
    let mut service =
        MetricsLayer::client(&metrics, "orders").layer(service_fn(|request: Request| async move {
            match request.method().as_str().len() % 2 {
                0 => Err(BoxError::from(Error::new(ErrorKind::HandlerFailed))),
                _ => Ok(Response::new("".into())),
            }
        }));
    let before = resident();
    for n in 0..100_000 {
        let _ = service.call(Request::new(format!("Stranger.{n}"), "".into())).await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 10 << 20, "{grown} bytes");
    metrics.refresh();
    let calls = seen.counts().into_iter().filter(|(name, _)| name.starts_with("rpc_"));
    let (series, calls) = calls.fold((0, 0), |(series, all), (_, n)| (series + 1, all + n));
    assert_eq!((series, calls), (101, 100_000));
    let other =
        "rpc_client_call_duration_seconds target=orders rpc_method=other outcome=other error_type=other";
    assert!(seen.count(other) > 90_000);
}
