//! A client of many endpoints, as the admin interface shows it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;
use tokio::time::{sleep, timeout};
use tower::limit::ConcurrencyLimitLayer;
use towpath::{
    Client, ClientPolicies, ErrorKind, Fault, Router, Server, ServerPolicies,
    admin::{Admin, Force, RecordConfig, Recorder, Target},
    balance::RoundRobin,
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
