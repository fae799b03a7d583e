//! Clients and servers, as the admin interface shows them.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use tower::limit::ConcurrencyLimitLayer;
use towpath::{
    Client, ClientPolicies, ErrorKind, Fault, Router, Server, ServerPolicies, Tracing,
    admin::{Admin, Force, RecordConfig, Recorder, Target},
    balance::RoundRobin,
    dedupe::DedupeConfig,
};

async fn replica() -> String {
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    let router = Router::new()
        .route("A.Fine", async || "fine")
        .route("A.Full", async || Err::<String, Fault>(Fault::new(ErrorKind::Overloaded, "full")));
    tokio::spawn(server.serve(router).into_future());
    address
}

fn recorder() -> Recorder {
    Recorder::new(RecordConfig::default().with_sample(1.0).unwrap())
}

#[tokio::test]
async fn a_client_is_seen_with_all_that_it_has() {
    let addresses = [replica().await, replica().await];
    let client = Client::builder()
        .pick_by(RoundRobin::new())
        .idempotent("A.*")
        .policies(ClientPolicies::default())
        .admin(recorder())
        .connect(addresses.join(",").replace(",mcp://", ","))
        .await
        .unwrap();
    let admin = Admin::new().target("letters", &client);
    let view = || admin.snapshot().targets.remove(0);
    // Both are known from the beginning, and connected after a while.
    let both = async {
        while view().endpoints.iter().filter(|one| one.takes_calls).count() < 2 {
            sleep(Duration::from_millis(1)).await
        }
    };
    timeout(Duration::from_secs(30), both).await.unwrap();
    for _ in 0..8 {
        let _: String = client.request("A.Fine").raw("").send().await.unwrap();
    }
    client.request("A.Full").raw("").send::<String>().await.unwrap_err();

    let seen = view();
    assert_eq!((&*seen.side, &*seen.state), ("client", "connected"));
    let steps: Vec<_> = seen.stack.iter().map(|step| (&*step.name, &*step.per)).collect();
    assert_eq!(
        steps,
        [
            ("DeadlineLayer", "call"),
            ("CallsLayer", "call"),
            ("BreakerLayer", "call"),
            ("RetryLayer", "call"),
            ("AttemptsLayer", "attempt"),
            ("Balance", "attempt"),
            ("BreakerLayer", "endpoint"),
            ("Pool", "endpoint"),
        ]
    );
    assert!(seen.warnings.is_empty(), "{:?}", seen.warnings);
    let mut known: Vec<_> = seen.endpoints.iter().map(|one| one.address.clone()).collect();
    known.sort();
    let mut given = addresses.to_vec();
    given.sort();
    assert_eq!(known, given);
    assert!(seen.endpoints.iter().all(|one| one.picks >= 4 && one.ewma_us.is_some()), "{:?}", seen.endpoints);
    assert_eq!(seen.pool.as_ref().unwrap().open, 2);
    assert!(seen.budget.as_ref().unwrap().retries > 0);
    let of = |kind: &str| seen.breakers.iter().filter(|one| one.of == kind).count();
    // One for all methods for which there is no room; that of the endpoints has the endpoint's name.
    assert_eq!(of("endpoint"), 2);
    assert!(of("method") >= 2, "{:?}", seen.breakers);

    let fault = &seen.faults[0];
    assert_eq!((&*fault.method, &*fault.code), ("A.Full", "MCP-W-103"));
    assert!(fault.attempts > 1 && given.contains(&fault.endpoint), "{fault:?}");
    let explained = admin.explain(&fault.trace_id);
    let said = explained[0].decisions.iter().map(|one| one.what.clone()).collect::<Vec<_>>().join("\n");
    for part in ["of its deadline", "attempt 2 goes to mcp://", "2 of 2 endpoints take calls; taken: mcp://"]
    {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }

    // Each endpoint's breaker is its own.
    let first = seen.breakers.iter().find(|one| one.of == "endpoint").unwrap();
    let target = Target::from(&client);
    assert!(target.force(&first.id, Force::Open));
    let open = || {
        view().breakers.iter().filter(|one| one.state == "open").map(|one| one.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(open().join(","), first.id);
    assert!(target.force(&first.id, Force::Automatic));
    assert!(!target.force("endpoint:0", Force::Open));
}

#[tokio::test]
async fn a_breaker_and_an_ejection_are_heard_of_before_anybody_looks() {
    let (good, bad) = (replica().await, Server::builder().bind("127.0.0.1:0").await.unwrap());
    let (bad, address) = (bad.address().to_string(), bad);
    let failing = Router::new()
        .route("A.Fine", async || Err::<String, Fault>(Fault::new(ErrorKind::HandlerFailed, "it fails")));
    tokio::spawn(address.serve(failing).into_future());
    let mut policies = ClientPolicies::default();
    policies.endpoint_breaker =
        Some(serde_json::from_str(r#"{"consecutive_failures": 1, "open_ms": 60000}"#).unwrap());
    let url = format!("{good},{}", bad.trim_start_matches("mcp://"));
    let builder = || Client::builder().pick_by(RoundRobin::new()).idempotent("A.*");
    // Whichever is said first.
    let clients = [
        builder().policies(policies.clone()).admin(recorder()).connect(&url).await.unwrap(),
        builder().admin(recorder()).policies(policies).connect(&url).await.unwrap(),
    ];
    for client in clients {
        let endpoints = client.endpoints().unwrap();
        let out = async {
            while endpoints.counts().ejected == 0 {
                let _ = client.request("A.Fine").raw("").send::<String>().await;
                sleep(Duration::from_millis(1)).await
            }
        };
        timeout(Duration::from_secs(30), out).await.unwrap();
        // One that has never looked: by itself it would tell of nothing.
        let events = || Admin::new().target("letters", &client).snapshot().events;
        let told = |kind: &str, what: &str| {
            let is = |one: &towpath::admin::view::EventView| one.kind == kind && one.what.starts_with(what);
            events().into_iter().filter(is).map(|one| one.who).collect::<Vec<_>>()
        };
        let both = async {
            while told("endpoint", "ejected").is_empty() || told("breaker", "opened: ").is_empty() {
                sleep(Duration::from_millis(1)).await
            }
        };
        assert!(timeout(Duration::from_secs(30), both).await.is_ok(), "{:?}", events());
        assert_eq!(told("endpoint", "ejected"), [&*bad], "{:?}", events());
        assert!(told("breaker", "opened: ").contains(&bad), "{:?}", events());
    }
}

#[tokio::test]
async fn a_bad_order_is_told() {
    let client = Client::builder()
        .without_defaults()
        .layer(ConcurrencyLimitLayer::new(8))
        .policies(ClientPolicies::default())
        .admin(recorder())
        .connect_lazy("mcp://127.0.0.1:1")
        .unwrap();
    let seen = Target::from(&client).view("x");
    assert_eq!((&*seen.state, seen.pool.map(|pool| pool.open)), ("idle", Some(0)));
    let warnings = seen.warnings.join("\n");
    assert!(warnings.contains("no total timeout"), "{warnings}");
    assert!(warnings.contains("ConcurrencyLimitLayer"), "{warnings}");
}

#[tokio::test]
async fn a_server_is_seen_too() {
    let stack = ServerPolicies::default().stack();
    let (handles, recorder) = (stack.handles(), recorder());
    let server = Server::builder().layer(recorder.calls()).policies(stack).bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    tokio::spawn(server.serve(Router::new().route("A.Fine", async || "fine")).into_future());
    let _: String = Client::connect(&address).await.unwrap().request("A.Fine").raw("").send().await.unwrap();
    let admin = Admin::new().target("letters", Target::from(&handles).recorder(recorder.clone()));
    let seen = admin.snapshot().targets.remove(0);
    assert_eq!((&*seen.side, &*seen.state, seen.limits.len()), ("server", "serving", 1));
    assert_eq!(seen.traffic.unwrap().calls, 1);
}

/// Only its name is looked at.
#[derive(Clone)]
struct AuthLayer;

impl<S> tower::Layer<S> for AuthLayer {
    type Service = S;

    fn layer(&self, inner: S) -> S {
        inner
    }
}

/// The status and the text of `/health/ready`.
async fn ready(admin: &Admin) -> (u16, String) {
    let request = axum::http::Request::get("/health/ready").header("host", "localhost");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(admin.router(), request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_server_is_seen_until_it_has_drained() {
    let mut policies = ServerPolicies::default();
    policies.dedupe = Some(DedupeConfig::default());
    let server = Server::builder()
        .policies(policies)
        .layer(AuthLayer)
        .trace(Tracing::default())
        .admin(recorder())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let admin = Admin::new().target("letters", &server);
    let view = || admin.snapshot().targets.remove(0);
    assert_eq!((&*view().side, &*view().state), ("server", "starting"));
    assert_eq!(ready(&admin).await, (503, r#"{"status":"starting"}"#.to_owned()));
    let steps: Vec<_> = view().stack.into_iter().map(|step| step.name).collect();
    assert_eq!(steps, ["CallsLayer", "TraceLayer", "AdmissionLayer", "DedupeLayer", "AuthLayer"]);
    assert!(view().warnings.join("\n").contains("auth outside dedupe"), "{:?}", view().warnings);

    let address = server.address().to_string();
    let (entered, mut inside) = mpsc::channel(1);
    let (let_go, held) = watch::channel(false);
    let router = Router::new()
        .route("A.Fine", async || "fine")
        .route("A.Full", async || Err::<String, Fault>(Fault::new(ErrorKind::Overloaded, "full")))
        .route("A.Held", move || {
            let (entered, mut held) = (entered.clone(), held.clone());
            async move {
                let _ = entered.send(()).await;
                let _ = held.wait_for(|go| *go).await;
                "held"
            }
        });
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = server.serve(router).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving.into_future());
    let client = Client::builder().without_defaults().admin(recorder()).connect(&address).await.unwrap();
    let _: String = client.request("A.Fine").raw("").send().await.unwrap();
    client.request("A.Full").raw("").send::<String>().await.unwrap_err();

    let seen = view();
    assert_eq!(seen.state, "serving");
    assert_eq!(ready(&admin).await, (200, r#"{"status":"ok"}"#.to_owned()));
    let traffic = seen.traffic.as_ref().unwrap();
    assert_eq!((traffic.calls, traffic.faults, traffic.failed), (2, 1, 0));
    let limits: Vec<_> = seen.limits.iter().map(|one| (&*one.name, one.limit.is_some())).collect();
    assert_eq!(limits, [("admission", true)]);
    // One trace, at the caller and at the callee.
    let fault = &seen.faults[0];
    assert_eq!((&*fault.method, &*fault.code, &*fault.chain[0]), ("A.Full", "MCP-W-103", "MCP-W-103: full"));
    let caller = Admin::new().target("caller", &client);
    assert_eq!(caller.explain(&fault.trace_id).len(), 1, "{}", fault.trace_id);
    assert_eq!(admin.explain(&fault.trace_id)[0].outcome, "MCP-W-103");

    // What an own check says counts only while the server takes calls.
    let asked = admin.clone().health(async || "alive", async || "warm");
    assert_eq!(ready(&asked).await, (200, "warm".to_owned()));
    let held = tokio::spawn(async move { client.request("A.Held").raw("").send::<String>().await });
    inside.recv().await.unwrap();
    assert_eq!(view().limits[0].in_flight, Some(1));
    drop(stop);
    let drains = async {
        while view().state != "draining" {
            sleep(Duration::from_millis(1)).await
        }
    };
    timeout(Duration::from_secs(30), drains).await.unwrap();
    assert_eq!(ready(&admin).await, (503, r#"{"status":"draining"}"#.to_owned()));
    assert_eq!(ready(&asked).await.0, 503);
    let_go.send_replace(true);
    assert_eq!(held.await.unwrap().unwrap(), "held");
    serving.await.unwrap().unwrap();
    assert_eq!((&*view().state, view().traffic.unwrap().calls), ("draining", 3));
}

#[tokio::test]
async fn each_server_of_a_builder_drains_for_itself() {
    let builder = Server::builder().admin(recorder());
    let (one, two) =
        (builder.clone().bind("127.0.0.1:0").await.unwrap(), builder.bind("127.0.0.1:0").await.unwrap());
    let admin = Admin::new().target("one", &one).target("two", &two);
    let states = || admin.snapshot().targets.into_iter().map(|one| one.state).collect::<Vec<_>>();
    let one = tokio::spawn(one.serve(Router::new()).into_future());
    let wait_for = async |wanted: &str| {
        while states()[0] != wanted {
            sleep(Duration::from_millis(1)).await
        }
    };
    timeout(Duration::from_secs(30), wait_for("serving")).await.unwrap();
    assert_eq!(states(), ["serving", "starting"]);
    // A process is ready when all of its servers are.
    assert_eq!(ready(&admin).await.0, 503);
    one.abort();
    timeout(Duration::from_secs(30), wait_for("draining")).await.unwrap();
    assert_eq!(states(), ["draining", "starting"]);
}
