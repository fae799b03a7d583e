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
    BoxError, CallError, Client, ClientPolicies, Error, ErrorKind, Identity, Observe, Register, Request,
    Response, Router, Server, ServerConfig, ServerPolicies,
    auth::{
        AttachLayer, Issued, RenewConfig, Renewing, StaticTokens, Token, TokensConfig, VerifyConfig,
        VerifyLayer,
    },
    discover::{DiscoverEvent, What},
    fallback::FallbackLayer,
    limit::{ThrottleConfig, ThrottleLayer},
    metrics::Prometheus,
    observe_registry,
    registry::{Registry, RegistryConfig},
    timeout::{TimeoutConfig, TimeoutLayer},
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

/// What of the transport's metrics a side has, by the labels that are asked for.
fn over(text: &str, side: &str, name: &str, label: &str) -> f64 {
    let (name, side) = (format!("towpath_transport_{name}"), format!("side=\"{side}\""));
    assert!(text.contains(&name), "{name} is not there");
    sum(text, &name, &[&side, label])
}

#[tokio::test]
async fn what_goes_over_connections_is_counted_on_both_sides() {
    let prometheus = Prometheus::new();
    let (address, served) = serve(&prometheus, false).await;
    let client = Client::builder()
        .metrics(prometheus.metrics(), "orders")
        .connect(format!("mcp://{address}"))
        .await
        .unwrap();
    for _ in 0..50 {
        call(&client, "A.Get").await.unwrap();
    }
    let large = Bytes::from(vec![b'x'; 100_000]);
    soon(client.request("A.Put").raw(large).send::<Bytes>()).await.unwrap();
    assert_eq!(served.load(SeqCst), 51);

    let (received, sent) = ("network_io_direction=\"receive\"", "network_io_direction=\"transmit\"");
    let text = prometheus.render();
    check(&text);
    for (here, there) in [("client", "server"), ("server", "client")] {
        let bytes = over(&text, here, "io_bytes_total", sent);
        assert_eq!(bytes, over(&text, there, "io_bytes_total", received), "{text}");
        assert!(if here == "client" { bytes > 100_000.0 } else { (50.0 * 16.0..10_000.0).contains(&bytes) });
        assert_eq!(over(&text, here, "frames_total", sent), 51.0, "{text}");
        assert_eq!(over(&text, here, "frames_total", received), 51.0, "{text}");
        assert_eq!(over(&text, here, "connections", ""), 1.0);
        assert_eq!(over(&text, here, "connections_opened_total", ""), 1.0);
        assert_eq!(over(&text, here, "connections_closed_total", ""), 0.0);
        assert_eq!(over(&text, here, "decode_errors_total", ""), 0.0);
    }

    drop(client);
    until("both sides have seen the end", || {
        let text = prometheus.render();
        let closed = |side, why| over(&text, side, "connections_closed_total", why);
        let ends = (closed("client", "reason=\"finished\""), closed("server", "reason=\"by_peer\""));
        ends == (1.0, 1.0) && closed("client", "") + closed("server", "") == 2.0
    })
    .await;
    let text = prometheus.render();
    assert_eq!(over(&text, "client", "connections", "") + over(&text, "server", "connections", ""), 0.0);
    // The last word of the client.
    assert_eq!(over(&text, "client", "frames_total", sent), 52.0, "{text}");
}

#[tokio::test]
async fn what_cannot_be_decoded_is_counted_with_its_reason() {
    let prometheus = Prometheus::new();
    let (address, _) = serve(&prometheus, false).await;
    let frame = |kind: u8, payload: &[u8]| {
        let head = towpath::codec::FrameHeader { kind, len: payload.len() as u32 };
        [&head.to_bytes()[..], payload].concat()
    };
    // An id, and nothing behind it that would be a request.
    let message = frame(towpath::codec::kind::REQUEST, &[0, 0, 0, 0, 0, 0, 0, 1, 255]);
    let wrong_version = {
        let mut bytes = message.clone();
        bytes[2] = 99;
        bytes
    };
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("bad_magic", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "protocol"),
        ("bad_version", wrong_version, "protocol"),
        ("frame", frame(towpath::codec::kind::CANCEL, &[0; 8]), "protocol"),
        ("too_large", towpath::codec::FrameHeader { kind: 1, len: u32::MAX }.to_bytes().to_vec(), "protocol"),
        // That one costs the call, and the connection is well until the stranger leaves without a word.
        ("message", message, "lost"),
    ];
    let mut protocol = 0.0;
    for (reason, bytes, end) in cases {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, &bytes).await.unwrap();
        let label = format!("reason=\"{reason}\"");
        until(reason, || over(&prometheus.render(), "server", "decode_errors_total", &label) == 1.0).await;
        drop(socket);
        protocol += f64::from(u8::from(end == "protocol"));
        let (label, count) = (format!("reason=\"{end}\""), if end == "protocol" { protocol } else { 1.0 });
        until(end, || over(&prometheus.render(), "server", "connections_closed_total", &label) == count)
            .await;
    }
    let text = prometheus.render();
    check(&text);
    assert_eq!(over(&text, "server", "decode_errors_total", ""), 5.0, "each once: {text}");
    assert_eq!(over(&text, "server", "connections", ""), 0.0);
}

/// A service that is always too busy, by its own word.
fn busy() -> impl tower::Service<
    Request,
    Response = Response,
    Error = BoxError,
    Future = std::future::Ready<Result<Response, BoxError>>,
> + Clone
+ Send
+ 'static {
    tower::service_fn(|_: Request| {
        std::future::ready(Err::<Response, BoxError>(Error::new(ErrorKind::Overloaded).into()))
    })
}

#[tokio::test]
async fn a_throttle_and_a_fallback_in_the_stack_are_counted() {
    let prometheus = Prometheus::new();
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("mcp://{}", server.local_addr());
    tokio::spawn(server.serve(busy()).into_future());

    let told = prometheus.metrics().observer("orders");
    let fallback = FallbackLayer::value(Response::new(Bytes::from_static(b"yesterday's")));
    let throttle = ThrottleConfig::default().with_min_calls(1);
    let throttle = ThrottleLayer::new(throttle).honour_context().observe(told.limit("throttle"));
    let held_back = throttle.handle();
    let client = Client::builder()
        .layer(fallback.observe(told))
        .layer(throttle)
        .metrics(prometheus.metrics(), "orders")
        .connect(url)
        .await
        .unwrap();
    for _ in 0..100 {
        assert_eq!(&call(&client, "A.Get").await.unwrap()[..], b"yesterday's");
    }
    let text = prometheus.render();
    check(&text);
    let answered = ["target=\"orders\"", "source=\"value\"", "end=\"answered\""];
    assert_eq!(sum(&text, "towpath_fallback_answers_total", &answered), 100.0, "{text}");
    let throttled =
        sum(&text, "towpath_limit_refused_total", &["limit=\"throttle\"", "reason=\"throttled\""]);
    assert!(throttled > 10.0 && throttled < 100.0, "{held_back:?}: {text}");
    let sent = sum(&text, "towpath_client_attempt_duration_seconds_count", &["error_type=\"MCP-W-103\""]);
    assert_eq!(throttled + sent, 100.0, "each was held back here or refused there: {text}");
}

#[tokio::test]
async fn who_is_turned_away_is_counted_with_the_reason() {
    let prometheus = Prometheus::new();
    let good: Token = "the-token-of-the-shop".parse().unwrap();
    let known = TokensConfig::new().with(&good, Identity::new("shop")).unwrap();
    let config = VerifyConfig::default().with_required(["Orders.*"].into_iter().collect(), "orders");
    let verify = VerifyLayer::with_config(StaticTokens::new(known), config);
    let server = Server::builder()
        .layer(verify.observe(prometheus.metrics().observer("shop")))
        .metrics(prometheus.metrics(), "shop");
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let url = format!("mcp://{}", server.local_addr());
    let router = Router::new().route("Who.AmI", async || "you").route("Orders.Place", async || "placed");
    tokio::spawn(server.serve(router).into_future());

    let client = async |token: Option<Token>| {
        let attach = token.map(AttachLayer::new);
        Client::builder().layer(tower::util::option_layer(attach)).connect(&url).await.unwrap()
    };
    let shop = client(Some(good)).await;
    let stranger = client(Some("the-token-of-nobody".parse().unwrap())).await;
    let nobody = client(None).await;
    call(&shop, "Who.AmI").await.unwrap();
    call(&shop, "Orders.Place").await.unwrap_err();
    call(&stranger, "Who.AmI").await.unwrap_err();
    call(&nobody, "Who.AmI").await.unwrap_err();
    call(&nobody, "Who.AmI").await.unwrap_err();

    // A client whose source of tokens fails.
    let told = prometheus.metrics().observer("orders");
    let source = Renewing::with(RenewConfig::default(), told.clone(), async || {
        Err::<Issued, BoxError>("nobody is there".into())
    });
    let poor = Client::builder().layer(AttachLayer::new(source).observe(told)).connect(&url).await.unwrap();
    call(&poor, "Who.AmI").await.unwrap_err();

    let text = prometheus.render();
    check(&text);
    let refused = |why: &str| {
        let reason = format!("reason=\"{why}\"");
        sum(&text, "towpath_auth_refused_total", &["target=\"shop\"", &reason])
    };
    let all = (refused("missing"), refused("invalid"), refused("forbidden"), refused(""));
    assert_eq!(all, (2.0, 1.0, 1.0, 0.0), "{text}");
    assert_eq!(sum(&text, "towpath_auth_refused_total", &[]), 4.0);
    assert_eq!(sum(&text, "towpath_auth_verified_total", &["target=\"shop\""]), 1.0, "{text}");
    assert_eq!(sum(&text, "towpath_auth_token_failures_total", &["target=\"orders\""]), 1.0, "{text}");
    assert!(sum(&text, "towpath_auth_renewals_total", &["result=\"failed\""]) >= 1.0, "{text}");
}

#[tokio::test]
async fn calls_that_their_connection_ends_are_counted_on_both_sides() {
    let prometheus = Prometheus::new();
    let config = ServerConfig { max_outstanding: 1, ..ServerConfig::default() };
    let server = Server::builder().config(config).metrics(prometheus.metrics(), "");
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr();
    let router = Router::new()
        .route("A.Get", async || "")
        .route("A.Never", async || std::future::pending::<String>().await);
    tokio::spawn(server.serve(router).into_future());
    let client = Client::builder()
        .metrics(prometheus.metrics(), "orders")
        .connect(format!("mcp://{address}"))
        .await
        .unwrap();
    // From now on the client knows how many calls the server takes.
    call(&client, "A.Get").await.unwrap();
    // One is worked on, and the other one waits until it may be sent, as the server takes one at a time.
    // That one gives up long before the first does: it would be sent otherwise.
    let two = async || {
        let make = |millis| client.request("A.Never").timeout(Duration::from_millis(millis)).raw("").send();
        tokio::join!(make(800), async {
            let second: Result<Bytes, _> = make(100).await;
            second
        })
    };
    let (one, other): (Result<Bytes, _>, _) = soon(two()).await;
    assert!(one.unwrap_err().is_timeout() && other.unwrap_err().is_timeout());
    let cut = |side, why| over(&prometheus.render(), side, "calls_cut_short_total", why);
    until("the client has noticed", || {
        cut("client", "reason=\"called\"") == 1.0 && cut("client", "reason=\"waiting\"") == 1.0
    })
    .await;

    // Who gives up says so, and the server may hear of it before the time is up there. This one says nothing.
    let before = cut("server", "reason=\"called\"");
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = |id: u64, timeout_ms| {
        let mut bytes = Vec::new();
        let call = Request::new("A.Never", Bytes::new());
        towpath::codec::put_request_head(&mut bytes, id, timeout_ms, &call).unwrap();
        bytes
    };
    tokio::io::AsyncWriteExt::write_all(&mut socket, &request(1, 20)).await.unwrap();
    until("the server has noticed", || cut("server", "reason=\"called\"") == before + 1.0).await;

    // Who does not heed the limit is told so.
    let both = [request(2, 0), request(3, 0)].concat();
    tokio::io::AsyncWriteExt::write_all(&mut socket, &both).await.unwrap();
    until("the second is one too many", || {
        over(&prometheus.render(), "server", "calls_cut_short_total", "reason=\"overloaded\"") == 1.0
    })
    .await;
    let text = prometheus.render();
    check(&text);
    assert_eq!(over(&text, "server", "calls_cut_short_total", ""), before + 2.0, "{text}");
}

#[tokio::test]
async fn a_timeout_in_the_stack_is_counted() {
    let prometheus = Prometheus::new();
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("mcp://{}", server.local_addr());
    let router = Router::new().route("A.Never", async || std::future::pending::<String>().await);
    tokio::spawn(server.serve(router).into_future());
    let limit = TimeoutLayer::new(TimeoutConfig::try_new(Duration::from_millis(30)).unwrap());
    let limit = limit.observe(prometheus.metrics().observer("orders"));
    let client = Client::builder().layer(limit).connect(url).await.unwrap();
    assert!(call(&client, "A.Never").await.unwrap_err().is_timeout());
    let labels = ["target=\"orders\"", "phase=\"called\"", "limit=\"total\""];
    let text = prometheus.render();
    assert_eq!(sum(&text, "towpath_timeout_expired_total", &labels), 1.0, "{text}");
}

#[tokio::test]
async fn calls_that_are_made_too_late_are_counted() {
    let prometheus = Prometheus::new();
    let (address, calls) = serve(&prometheus, false).await;
    let metrics = prometheus.metrics();
    let client =
        Client::builder().metrics(metrics, "orders").connect(format!("mcp://{address}")).await.unwrap();
    // With the client's deadline, and with one of their own.
    let mut late = Request::new("A.Get", Bytes::new());
    late.context_mut().set_deadline(Some(tokio::time::Instant::now()));
    let error = tower::ServiceExt::oneshot(client.clone(), late).await.unwrap_err();
    assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::DeadlineExceeded);
    let late = client.request("A.Get").raw("").timeout(Duration::ZERO);
    assert!(soon(late.send::<Bytes>()).await.unwrap_err().is_timeout());
    let labels = ["target=\"orders\"", "phase=\"late\""];
    let text = prometheus.render();
    assert_eq!(sum(&text, "towpath_timeout_expired_total", &labels), 2.0, "{text}");
    assert_eq!(calls.load(SeqCst), 0);
}

#[tokio::test]
async fn waits_for_a_connection_are_counted_with_those_that_were_none() {
    let prometheus = Prometheus::new();
    let (address, _) = serve(&prometheus, false).await;
    let metrics = prometheus.metrics();
    let client =
        Client::builder().metrics(metrics, "orders").connect_lazy(format!("mcp://{address}")).unwrap();
    call(&client, "A.Get").await.unwrap();
    let name = "towpath_pool_acquire_duration_seconds";
    let waited = {
        let text = prometheus.render();
        let [count, sum] = ["_count", "_sum"].map(|end| sum(&text, &format!("{name}{end}"), &[]));
        assert!(count == 1.0 && sum > 0.0, "the first one waits for the connect: {text}");
        sum
    };
    for _ in 0..20 {
        call(&client, "A.Get").await.unwrap();
    }
    let text = prometheus.render();
    check(&text);
    let [count, total] = ["_count", "_sum"].map(|end| sum(&text, &format!("{name}{end}"), &[]));
    assert_eq!((count, total), (21.0, waited), "the others find it there: {text}");
    let again = prometheus.render();
    assert_eq!(sum(&again, &format!("{name}_count"), &[]), 21.0, "nobody is counted twice: {again}");
}

#[tokio::test]
async fn a_registry_its_servers_and_its_followers_are_counted() {
    let prometheus = Prometheus::new();
    let registry =
        Registry::with(RegistryConfig::default(), observe_registry(prometheus.metrics(), "registry"));
    let server = Server::builder()
        .register(Register::over(registry.router(), "orders"))
        .metrics(prometheus.metrics(), "orders");
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server.serve(Router::new()).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving.into_future());
    let seen = |what: &str| {
        let (text, what) = (prometheus.render(), format!("what=\"{what}\""));
        let there = sum(&text, "towpath_registry_events_total", &["target=\"registry\"", &what]);
        let here = sum(&text, "towpath_registration_events_total", &["target=\"orders\"", &what]);
        (there, here, sum(&text, "towpath_registry_instances", &["target=\"registry\""]))
    };
    until("it is registered", || seen("registered") == (1.0, 1.0, 1.0)).await;
    drop(stop);
    soon(serving).await.unwrap().unwrap();
    until("it has left", || seen("deregistered") == (1.0, 1.0, 0.0)).await;
    check(&prometheus.render());
}

#[tokio::test]
async fn a_source_of_endpoints_is_counted() {
    let prometheus = Prometheus::new();
    let (address, _) = serve(&prometheus, false).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.toml");
    let good = format!("endpoints = [{{ address = \"mcp://{address}\" }}]");
    std::fs::write(&path, good).unwrap();
    let url = format!("file:{}?every_ms=20", path.display());
    let client = Client::builder().metrics(prometheus.metrics(), "orders").connect(url).await.unwrap();
    let of = |name: &str| sum(&prometheus.render(), &format!("towpath_discovery_{name}"), &[]);
    assert_eq!((of("endpoints"), of("errors_total"), of("failures_in_a_row")), (1.0, 0.0, 0.0));
    let refused = What::Refused { count: 2, why: "too many".to_owned() };
    let told = DiscoverEvent { name: "elsewhere".into(), what: refused };
    prometheus.metrics().observer("orders").observe(&told);
    assert_eq!(of("refused_total"), 2.0, "{}", prometheus.render());
    std::fs::write(&path, "endpoints = nothing that one can read").unwrap();
    until("it is seen to fail", || of("errors_total") >= 1.0 && of("failures_in_a_row") >= 1.0).await;
    assert_eq!(of("endpoints"), 1.0, "what was known stays");
    until("what is known grows old", || of("age_seconds") > 0.05).await;
    std::fs::write(&path, "endpoints = []").unwrap();
    until("an empty list is doubted", || of("doubted_total") == 1.0 && of("failures_in_a_row") == 0.0).await;
    check(&prometheus.render());
    drop(client);
}
