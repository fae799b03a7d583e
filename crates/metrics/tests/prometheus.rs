//! What is shown to Prometheus is what Prometheus reads.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not #[test] themselves

use std::{
    io::Write,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tower::{Layer, Service, service_fn};
use towpath_balance::BalanceEvent;
use towpath_breaker::{BreakerEvent, State};
use towpath_core::{BoxError, Endpoint, Error, ErrorKind, Observe, Request, Response};
use towpath_limit::{LimitEvent, Refusal};
use towpath_metrics::{ALL, Kind, MetricsLayer, Prometheus};
use towpath_pool::PoolEvent;
use towpath_retry::{RetryConfig, RetryEvent, RetryLayer};
use towpath_timeout::TooLittleLeft;

/// Calls, attempts and events of most kinds.
async fn filled() -> (Prometheus, towpath_metrics::Watching) {
    let prometheus = Prometheus::new();
    let metrics = prometheus.metrics();
    let serve = service_fn(|request: Request| async move {
        match request.method().name() {
            "Lost" => Err(BoxError::from(Error::new(ErrorKind::ConnectionLost))),
            _ => Ok(Response::new("".into())),
        }
    });
    let layers = [
        MetricsLayer::client(metrics, "orders"),
        MetricsLayer::client(metrics, "a \"quoted\" \\ name"),
        MetricsLayer::attempt(metrics, "orders"),
        MetricsLayer::server(metrics, ""),
    ];
    for layer in layers {
        for method in ["A.Ok", "A.Ok", "A.Lost"] {
            let _ = layer.layer(serve).call(Request::new(method, "".into())).await;
        }
    }
    let observer = metrics.observer("orders");
    observer.observe(&RetryEvent::Planned { attempt: 1, after: Duration::ZERO });
    observer.observe(&BreakerEvent::Rejected { name: "A.Ok".into(), state: State::Open });
    let refused = LimitEvent::Refused { why: Refusal::Full, waited: Duration::ZERO, retry_after: None };
    observer.limit("rate").observe(&refused);
    observer.observe(&PoolEvent::Connected { took: Duration::from_millis(3), open: 1 });
    observer.observe(&BalanceEvent::Ejected { endpoint: Endpoint::new("mcp://10.0.0.7:80"), until: None });
    let _ = |event: TooLittleLeft| observer.observe(&event);
    let retry = RetryLayer::new(RetryConfig::default()).handle();
    let watching = metrics.watch("orders", move |gauges| gauges.retry(&retry));
    (prometheus, watching)
}

#[tokio::test]
async fn promtool_accepts_the_text() {
    let (prometheus, _watching) = filled().await;
    let text = prometheus.render();
    assert!(text.contains(
        "rpc_client_call_duration_seconds_count{target=\"orders\",rpc_method=\"A.Ok\",outcome=\"ok\"} 2\n"
    ));
    assert!(text.contains("target=\"a \\\"quoted\\\" \\\\ name\""));
    assert!(
        text.contains("towpath_pool_connect_duration_seconds_bucket{target=\"orders\",le=\"0.005\"} 1\n")
    );
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let (name, kind) = line[7..].split_once(' ').unwrap();
        let metric = ALL.iter().find(|metric| metric.name == name);
        assert_eq!(metric.map(|metric| metric.kind.as_str()), Some(kind), "{line}");
    }
    assert!(ALL.iter().any(|metric| metric.kind == Kind::Histogram));
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

/// Ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The body of an answer to a GET.
async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_real_prometheus_scrapes_it() {
    if Command::new("prometheus")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_err()
    {
        println!("prometheus is not installed (Debian: prometheus): nothing is scraped");
        return;
    }
    let (prometheus, _watching) = filled().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = listener.local_addr().unwrap();
    let serving = tokio::spawn(axum::serve(listener, prometheus.router::<()>()).into_future());
    assert!(get(ours, "/metrics").await.unwrap().contains("content-type: text/plain; version=0.0.4"));

    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: towpath\n  static_configs: [{{targets: ['{ours}']}}]\n"
    );
    std::fs::write(&config, text).unwrap();
    // A port that is free now is most likely free in a moment.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", home.path().join("data").display()))
        .arg(format!("--web.listen-address={port}"))
        .arg("--log.level=error")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _ended = Ended(child.unwrap());
    let query = "/api/v1/query?query=rpc_client_call_duration_seconds_count%7Boutcome%3D%22failed%22%7D";
    let start = Instant::now();
    loop {
        let answer = get(port, query).await.unwrap_or_default();
        if answer.contains("\"error_type\":\"MCP-E-010\"") && answer.contains("\"target\":\"orders\"") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    serving.abort();
}
