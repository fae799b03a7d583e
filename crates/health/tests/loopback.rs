//! Each kind of probe against real sockets: one who answers, one who refuses, one who accepts and never answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
    time::{sleep, timeout},
};
use towpath_core::{BoxError, Endpoint};
use towpath_health::{
    HealthChecker, HealthConfig, HealthOptions, HttpProbe, PingProbe, Probe, ProbeError, TcpProbe,
};
use towpath_transport::{Server, ServerConfig, router::Router};

/// Long: only what is broken waits for so long.
const LONG: Duration = Duration::from_secs(20);

async fn ask(probe: &mut impl Probe, endpoint: &Endpoint) -> Result<(), BoxError> {
    timeout(LONG, probe.probe(endpoint)).await.expect("an outcome")
}

/// An MCP server that counts its connections is not to be had: a listener in between counts them.
async fn mcp() -> (String, JoinHandle<()>) {
    let server = Server::bind("127.0.0.1:0", ServerConfig::default()).await.unwrap();
    let address = format!("mcp://{}", server.local_addr().unwrap());
    let router = Router::new().route("A.B", async || "");
    let serving = tokio::spawn(async move { server.serve(router).into_future().await.unwrap() });
    (address, serving)
}

/// A listener that accepts and says nothing. The connections stay open as long as it does.
async fn frozen() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    (address, task)
}

/// An address on which nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Speaks just enough HTTP: answers each request with this, and counts connections and requests.
async fn http(answer: &'static str) -> (String, Arc<[AtomicUsize; 2]>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counted = counts.clone();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted[0].fetch_add(1, Relaxed);
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                loop {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                        return;
                    }
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n") {
                        let text = String::from_utf8(std::mem::take(&mut head)).unwrap().to_lowercase();
                        assert!(text.starts_with("get /readyz?full http/1.1\r\n"), "{text}");
                        assert!(text.contains("\r\nhost: 127.0.0.1:"), "{text}");
                        counted[1].fetch_add(1, Relaxed);
                        if stream.write_all(answer.as_bytes()).await.is_err() || answer.contains("close") {
                            return;
                        }
                    }
                }
            });
        }
    });
    (address, counts, task)
}

#[tokio::test]
async fn tcp() {
    let mut probe = TcpProbe::new();
    let (address, serving) = frozen().await;
    for scheme in ["mcp://", "http://", ""] {
        ask(&mut probe, &Endpoint::new(format!("{scheme}{address}"))).await.unwrap();
    }
    serving.abort();
    let gone = nobody().await;
    let error = ask(&mut probe, &Endpoint::new(gone.clone())).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("could not connect to {gone}: ")), "{error}");
    assert!(ask(&mut probe, &Endpoint::new("nonsense")).await.is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("mcp+unix:{}", folder.path().join("s").display());
    let one = Endpoint::new(address.clone());
    let error = ask(&mut TcpProbe::new(), &one).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("could not connect to {address}")), "{error}");
    let server = Server::bind(&*address, ServerConfig::default()).await.unwrap();
    let router = Router::new().route("A.B", async || "");
    let serving = tokio::spawn(server.serve(router).into_future());
    ask(&mut TcpProbe::new(), &one).await.unwrap();
    ask(&mut PingProbe::new(), &one).await.unwrap();
    let error = ask(&mut HttpProbe::new("/").unwrap(), &one).await.unwrap_err().to_string();
    assert!(error.contains("is a Unix socket"), "{error}");
    serving.abort();
}

#[tokio::test]
async fn ping() {
    let mut probe = PingProbe::new();
    let (address, serving) = mcp().await;
    let one = Endpoint::new(address);
    for _ in 0..3 {
        ask(&mut probe, &one).await.unwrap();
    }
    serving.abort();
    let _ = serving.await;
    let error = ask(&mut probe, &one).await.unwrap_err().to_string();
    assert!(error.starts_with("MCP-E-011"), "{error}");
    let error = ask(&mut probe, &Endpoint::new("http://a:1")).await.unwrap_err().to_string();
    assert!(error.contains("http://a:1"), "{error}");
}

/// A connection that ended between two probes is not a failure.
#[tokio::test]
async fn a_server_that_restarts_between_two_pings_is_well() {
    let mut probe = PingProbe::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let one = Endpoint::new(format!("mcp://{address}"));
    let serve = |listener: TcpListener| {
        let server = Server::from_listener(listener, ServerConfig::default()).unwrap();
        let router = Router::new().route("A.B", async || "");
        tokio::spawn(server.serve(router).into_future())
    };
    let serving = serve(listener);
    ask(&mut probe, &one).await.unwrap();
    serving.abort();
    let _ = serving.await;
    let serving = serve(TcpListener::bind(address).await.unwrap());
    ask(&mut probe, &one).await.unwrap();
    serving.abort();
}

#[tokio::test]
async fn http_answers() {
    let probe = || HttpProbe::new("/readyz?full").unwrap();
    let (address, counts, serving) = http("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let one = Endpoint::new(format!("mcp://{address}"));
    let mut kept = probe();
    for _ in 0..3 {
        ask(&mut kept, &one).await.unwrap();
    }
    let count = |at: usize| counts[at].load(Relaxed);
    assert_eq!((count(0), count(1)), (1, 3), "the connection is kept");
    // A clone has one of its own.
    ask(&mut kept.clone(), &one).await.unwrap();
    assert_eq!((count(0), count(1)), (2, 4));
    // At another port than the endpoint's own.
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let elsewhere = Endpoint::new("mcp://127.0.0.1:1");
    assert!(ask(&mut probe(), &elsewhere).await.is_err());
    ask(&mut probe().port(port), &elsewhere).await.unwrap();
    let told = elsewhere.clone().with_label("health", port.to_string());
    ask(&mut probe().port(1).port_of_label("health"), &told).await.unwrap();
    let wrong = elsewhere.with_label("health", "many");
    let error = ask(&mut probe().port_of_label("health"), &wrong).await.unwrap_err().to_string();
    assert!(error.contains("no port"), "{error}");
    serving.abort();

    let (address, counts, serving) =
        http("HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\nno").await;
    let one = Endpoint::new(format!("http://{address}"));
    for _ in 0..2 {
        let error = ask(&mut probe(), &one).await.unwrap_err().to_string();
        let expected = format!("GET http://{address}/readyz?full: the answer is 503 Service Unavailable");
        assert_eq!(error, expected);
    }
    ask(&mut probe().accept(500..=503), &one).await.unwrap();
    assert_eq!(counts[0].load(Relaxed), 3);
    serving.abort();
}

#[tokio::test]
async fn http_that_is_none_has_failed() {
    for answer in ["MC\x01\x08 close\r\n\r\n", "close"] {
        let (address, _, serving) = http(answer).await;
        let mut probe = HttpProbe::new("/readyz?full").unwrap();
        let error = ask(&mut probe, &Endpoint::new(address.clone())).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("GET http://{address}/readyz?full: ")), "{error}");
        serving.abort();
    }
    // An answer that is far too long is one all the same; the connection is not kept.
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{}", "x".repeat(100_000));
    let (address, counts, serving) = http(long.leak()).await;
    let mut probe = HttpProbe::new("/readyz?full").unwrap();
    for _ in 0..2 {
        ask(&mut probe, &Endpoint::new(address.clone())).await.unwrap();
    }
    assert_eq!(counts[0].load(Relaxed), 2);
    serving.abort();
    for bad in ["readyz", "", "/a b"] {
        assert!(HttpProbe::new(bad).is_err(), "{bad}");
    }
}

/// The kernel accepts for a process that is frozen. Only who connects is content with that.
#[tokio::test]
async fn who_accepts_and_never_answers_has_failed() {
    let (address, serving) = frozen().await;
    let config = HealthConfig::try_new(HealthOptions {
        interval: Duration::from_millis(300),
        timeout: Duration::from_millis(300),
        ..HealthOptions::default()
    });
    let config = config.unwrap();
    let ping = HealthChecker::builder(PingProbe::new()).config(config.clone()).build();
    let http = HealthChecker::builder(HttpProbe::new("/").unwrap()).config(config.clone()).build();
    let tcp = HealthChecker::builder(TcpProbe::new()).config(config).build();
    let new = || Endpoint::new(format!("mcp://{address}"));
    let (a, b, c) = (new(), new(), new());
    ping.add(a.clone());
    http.add(b.clone());
    tcp.add(c.clone());
    timeout(LONG, async {
        while !(a.state().is_unhealthy() && b.state().is_unhealthy()) || tcp.counts().probes < 3 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    for one in [ping.endpoint(a.id()), http.endpoint(b.id())] {
        let error = one.unwrap().last.unwrap().error.unwrap();
        assert!(matches!(error, ProbeError::TimedOut(_)), "{error}");
    }
    assert!(!c.state().is_unhealthy());
    serving.abort();
}

/// From the router of a server to the checks of its clients.
#[tokio::test]
async fn readiness_is_what_a_client_sees() {
    let health = towpath_health::Health::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(axum::serve(listener, health.router()).into_future());
    let one = Endpoint::new(address.to_string());
    let mut probe = HttpProbe::new("/readyz").unwrap();
    ask(&mut probe, &one).await.unwrap();
    health.readiness().drain();
    let error = ask(&mut probe, &one).await.unwrap_err().to_string();
    assert!(error.ends_with("the answer is 503 Service Unavailable"), "{error}");
    ask(&mut HttpProbe::new("/livez").unwrap(), &one).await.unwrap();
    serving.abort();
}
