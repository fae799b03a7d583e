//! What is counted of whole stacks, over real sockets: faults give the numbers that one expects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::{soon, until};
use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use towpath::{
    BoxError, CallError, Client, ClientPolicies, Error, ErrorKind, Request, Response, Server, ServerPolicies,
    metrics::Prometheus,
};

/// A server that fails all calls, or none; and how many there were.
async fn serve(prometheus: &Prometheus, fails: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let builder = Server::builder().policies(ServerPolicies::default()).metrics(prometheus.metrics(), "");
    let server = builder.bind("127.0.0.1:0").await.unwrap();
    let (address, calls) = (server.local_addr(), Arc::new(AtomicUsize::new(0)));
    let counted = calls.clone();
    let service = tower::service_fn(move |request: Request| {
        counted.fetch_add(1, SeqCst);
        async move {
            match fails || request.method().name() == "Broken" {
                true => Err(BoxError::from(Error::new(ErrorKind::HandlerFailed))),
                false => Ok(Response::new(Bytes::new())),
            }
        }
    });
    tokio::spawn(server.serve(service).into_future());
    (address, calls)
}

async fn call(client: &Client, method: &'static str) -> Result<Bytes, CallError> {
    soon(client.request(method).raw("").idempotent().send()).await
}

/// The sum of all samples of this name whose labels have all of these in them.
fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let lines =
        lines.filter(|line| line.starts_with(['{', ' ']) && labels.iter().all(|label| line.contains(label)));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

fn check(text: &str) {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tool) = tool else {
        println!("promtool is not installed (Debian: prometheus): the text is not checked");
        return;
    };
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[tokio::test]
async fn retries_and_an_ejected_endpoint() {
    let prometheus = Prometheus::new();
    let (good, good_calls) = serve(&prometheus, false).await;
    let (bad, bad_calls) = serve(&prometheus, true).await;
    let mut policies = ClientPolicies::default();
    // The balancer sends few calls there: one failure is to be enough.
    policies.endpoint_breaker = Some(serde_json::from_str(r#"{"consecutive_failures": 1}"#).unwrap());
    let client = Client::builder()
        .policies(policies)
        .metrics(prometheus.metrics(), "orders")
        .connect_lazy(format!("mcp://{good},{bad}"))
        .unwrap();
    client.ready().await.unwrap();
    let endpoints = client.endpoints().unwrap();
    until("both are connected", || endpoints.counts().ready == 2).await;
    for _ in 0..200 {
        call(&client, "A.Get").await.unwrap();
    }
    let (good_calls, bad_calls) = (good_calls.load(SeqCst) as f64, bad_calls.load(SeqCst) as f64);
    assert!(bad_calls > 0.0, "nothing went wrong, so nothing is tested");

    let text = prometheus.render();
    check(&text);
    let (calls, attempts) =
        ("rpc_client_call_duration_seconds_count", "towpath_client_attempt_duration_seconds_count");
    assert_eq!(
        sum(&text, calls, &["target=\"orders\"", "rpc_method=\"A.Get\"", "outcome=\"ok\""]),
        200.0,
        "{text}"
    );
    assert_eq!(sum(&text, calls, &[]), 200.0);
    let (good, bad) = (format!("mcp://{good}"), format!("mcp://{bad}"));
    assert_eq!(sum(&text, attempts, &[&good, "outcome=\"ok\""]), 200.0, "{text}");
    assert_eq!(sum(&text, attempts, &[&bad, "error_type=\"MCP-E-009\""]), bad_calls);
    assert_eq!(sum(&text, "towpath_retry_attempts_total", &["kind=\"retry\""]), bad_calls);
    assert_eq!(sum(&text, "towpath_retry_failed_attempts_total", &["reason=\"MCP-E-009\""]), bad_calls);
    assert_eq!(sum(&text, "towpath_balance_picks_total", &[&good]), good_calls);
    assert_eq!(sum(&text, "towpath_balance_picks_total", &[&bad]), bad_calls);
    assert!(sum(&text, "towpath_balance_ejections_total", &[&bad]) >= 1.0, "{text}");
    assert!(sum(&text, "towpath_breaker_changes_total", &[&bad, "to=\"open\""]) >= 1.0);
    assert_eq!(sum(&text, "towpath_balance_endpoints", &["state=\"known\""]), 2.0);
    assert_eq!(sum(&text, "towpath_pool_connections", &["state=\"open\""]), 2.0, "{text}");
    assert_eq!(sum(&text, "towpath_pool_connects_total", &["result=\"ok\""]), 2.0);
    assert!(text.contains("towpath_retry_budget_balance{target=\"orders\"}"));
    assert_eq!(sum(&text, "towpath_client_calls_in_flight", &[]), 0.0);
    let served = "rpc_server_call_duration_seconds_count";
    assert_eq!(sum(&text, served, &["outcome=\"ok\""]), good_calls);
    assert_eq!(sum(&text, served, &["outcome=\"failed\""]), bad_calls);
}

#[tokio::test]
async fn a_breaker_opens() {
    let prometheus = Prometheus::new();
    let (address, served) = serve(&prometheus, false).await;
    let client = Client::builder()
        .policies(ClientPolicies::default())
        .metrics(prometheus.metrics(), "orders")
        .connect(format!("mcp://{address}"))
        .await
        .unwrap();
    let mut turned_away = 0.0;
    for _ in 0..60 {
        let error = call(&client, "A.Broken").await.unwrap_err();
        turned_away += f64::from(u8::from(error.to_string().contains("MCP-W-105")));
    }
    assert!(turned_away > 0.0 && served.load(SeqCst) > 0);
    let text = prometheus.render();
    check(&text);
    let breaker = "breaker=\"A.Broken\"";
    assert!(sum(&text, "towpath_breaker_changes_total", &[breaker, "to=\"open\""]) >= 1.0, "{text}");
    assert_eq!(sum(&text, "towpath_breaker_rejected_total", &[breaker]), turned_away);
    let refused = ["outcome=\"refused\"", "error_type=\"MCP-W-105\""];
    assert_eq!(sum(&text, "rpc_client_call_duration_seconds_count", &refused), turned_away, "{text}");
}

#[tokio::test]
async fn calls_wait_for_a_connection_and_get_none() {
    let prometheus = Prometheus::new();
    let client = Client::builder()
        .metrics(prometheus.metrics(), "orders")
        .timeout(Duration::from_millis(200))
        .connector(|_, _| std::future::pending())
        .connect_lazy("mcp://127.0.0.1:1")
        .unwrap();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { call(&client, "A.Get").await }
    });
    until("it is seen to wait", || {
        let text = prometheus.render();
        let waits = sum(&text, "towpath_pool_waiting", &["target=\"orders\""]);
        waits == 1.0 && sum(&text, "towpath_client_calls_in_flight", &[]) == 1.0 || waiting.is_finished()
    })
    .await;
    assert!(!waiting.is_finished(), "the machine is too slow for this: raise the timeout");
    assert!(waiting.await.unwrap().is_err());
    let text = prometheus.render();
    check(&text);
    assert_eq!(sum(&text, "towpath_pool_refused_total", &["reason=\"late\""]), 1.0, "{text}");
    assert_eq!(sum(&text, "rpc_client_call_duration_seconds_count", &["outcome=\"failed\""]), 1.0);
    assert_eq!(sum(&text, "towpath_pool_waiting", &[]), 0.0);
}
