//! Log lines and taps of calls.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use towpath_core::{BoxError, Error, ErrorKind, Request, Response};
use towpath_metrics::{AccessLayer, AccessLog, AccessLogConfig, AccessLogOptions, Tap};
use towpath_testing::Contract;

async fn serve(request: Request) -> Result<Response, BoxError> {
    match request.method().name() {
        "Lost" => Err(Error::new(ErrorKind::ConnectionLost).into()),
        "Slow" => {
            sleep(Duration::from_secs(2)).await;
            Ok(Response::new("".into()))
        }
        _ => Ok(Response::new("".into())),
    }
}

fn request(method: &'static str) -> Request {
    Request::new(method, "".into())
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log(options: AccessLogOptions) -> AccessLog {
    AccessLog::new(AccessLogConfig::try_new(options).unwrap())
}

#[tokio::test(start_paused = true)]
async fn failures_and_slow_calls_are_logged_although_none_is_sampled() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _subscribed = tracing::subscriber::set_default(subscriber);
    let silent = AccessLogOptions { sample: 0.0, slow_ms: Some(1_000), ..AccessLogOptions::default() };
    let log = log(silent);
    let service = AccessLayer::server(log.clone()).layer(service_fn(serve));
    for method in ["A.Ok", "A.Lost", "A.Slow"] {
        let _ = service.clone().oneshot(request(method)).await;
    }
    log.config().set(AccessLogConfig::default());
    service.oneshot(request("A.Ok")).await.unwrap();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let said: Vec<_> = text.lines().collect();
    assert_eq!(said.len(), 3, "{text}");
    assert!(said[0].contains("towpath::access") && said[0].contains("side=\"server\""), "{text}");
    assert!(said[0].contains("rpc.method=\"A.Lost\" outcome=\"failed\" error.type=\"MCP-E-010\""), "{text}");
    assert!(said[1].contains("A.Slow") && said[1].contains("duration_ms=2000"), "{text}");
    assert!(said[2].contains("A.Ok") && !said[2].contains("error.type"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_and_no_call_waits() {
    let tap = Tap::new();
    let service = AccessLayer::client(tap.clone()).layer(service_fn(serve));
    service.clone().oneshot(request("A.Ok")).await.unwrap();
    let mut failures = tap.open(8, |call| call.outcome == "failed");
    let mut all = tap.open(2, |_| true);
    for method in ["A.Ok", "A.Lost", "A.Ok", "A.Ok"] {
        let _ = service.clone().oneshot(request(method)).await;
    }
    assert_eq!((failures.lost(), all.lost()), (0, 2));
    let failure = failures.next().await.unwrap();
    assert_eq!((failure.method.as_str(), &*failure.error_type), ("A.Lost", "MCP-E-010"));
    assert_eq!(all.next().await.unwrap().outcome, "ok");
    assert_eq!(all.next().await.unwrap().outcome, "failed");
    drop(tokio_test::task::spawn(service.clone().oneshot(request("A.Slow"))).poll());
    assert_eq!(all.next().await.unwrap().outcome, "cancelled");
    drop((all, failures));
    assert_eq!(tap.readers(), 0);
    service.oneshot(request("A.Ok")).await.unwrap();
}

#[test]
fn it_keeps_the_contract() {
    Contract::new(|| AccessLayer::client(Tap::new())).verify();
    let tap = Tap::new();
    let _reader = tap.open(1, |_| true);
    Contract::new(move || AccessLayer::server((tap.clone(), AccessLog::default()))).verify();
}

#[test]
fn a_sample_is_a_share() {
    for sample in [-0.1, 1.1, f64::NAN] {
        let options = AccessLogOptions { sample, ..AccessLogOptions::default() };
        assert!(AccessLogConfig::try_new(options).is_err(), "{sample}");
    }
    let parsed: Result<AccessLogConfig, _> = serde_json::from_str(r#"{"sample": 2}"#);
    assert!(parsed.unwrap_err().to_string().contains("sample"));
}
