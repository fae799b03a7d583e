//! The router, over HTTP on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use axum::{Router, routing::get as route};
use common::{get, post, rig, serve};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;
use towpath_admin::{Admin, Target, view::Snapshot};

const LONG: Duration = Duration::from_secs(30);
const FORCE: &str = r#"{"target": "shop", "breaker": "method:Shop.Sell", "mode": "open"}"#;

#[tokio::test]
async fn a_failed_call_is_found_and_explained() {
    let mut rig = rig();
    let served = serve(Admin::new().target("shop", rig.target.clone())).await;
    for _ in 0..20 {
        rig.call("Shop.Sell").await.unwrap();
    }
    assert!(rig.call("Shop.Refuse").await.unwrap().is_fault());
    let trace_id = {
        rig.call("Shop.Lose").await.unwrap_err();
        rig.recorder.faults(1)[0].trace_id.clone()
    };
    let (status, snapshot) = get(served.address, "/snapshot.json").json().await;
    assert_eq!(status, 200);
    let snapshot: Snapshot = serde_json::from_value(snapshot).unwrap();
    let shop = &snapshot.targets[0];
    assert!(shop.warnings.is_empty(), "{:?}", shop.warnings);
    let faults: Vec<_> = shop.faults.iter().map(|fault| (&*fault.method, &*fault.code)).collect();
    assert_eq!(faults, [("Shop.Lose", "MCP-E-010"), ("Shop.Refuse", "SHP-E-001")]);
    assert_eq!(shop.faults[1].chain, ["SHP-E-001: <b>no & such</b> article", "from SHP-E-002"]);
    assert_eq!(shop.faults[0].chain.last().unwrap(), "connection reset by peer");
    assert!(shop.faults[0].attempts > 1);

    let (status, told) = get(served.address, &format!("/explain/{trace_id}")).json().await;
    assert_eq!(status, 200);
    let call = &told["calls"][0];
    assert_eq!((&call["target"], &call["outcome"]), (&json!("shop"), &json!("MCP-E-010")));
    let said: Vec<&str> =
        call["decisions"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert!(said[0].starts_with("the call begins without a deadline"), "{said:#?}");
    for (number, attempt) in (1..=shop.faults[0].attempts).zip(said[1..].chunks(2)) {
        assert!(attempt[0].starts_with(&format!("attempt {number} goes to")), "{said:#?}");
        assert!(attempt[1].contains("MCP-E-010"), "{said:#?}");
    }
    assert!(said.last().unwrap().starts_with("the call ends with MCP-E-010"), "{said:#?}");

    // Nothing that was in a request is anywhere.
    for path in ["/snapshot.json", &format!("/explain/{trace_id}"), "/stack.json", "/endpoints.json"] {
        let (.., body) = get(served.address, path).send().await;
        assert!(!body.contains("secret"), "{path}: {body}");
    }
    let (status, _) = get(served.address, "/explain/00000000000000000000000000000001").json().await;
    assert_eq!(status, 404);
    let (_, stack) = get(served.address, "/stack.json").json().await;
    assert_eq!(stack["targets"][0]["stack"][3], json!({"name": "RetryLayer", "per": "call", "about": ""}));
    assert_eq!(stack["targets"][0]["stack"][4]["per"], "attempt");
}

#[tokio::test]
async fn nothing_is_changed_unless_the_owner_allows_it() {
    let mut rig = rig();
    rig.call("Shop.Sell").await.unwrap();
    let served = serve(Admin::new().target("shop", rig.target.clone())).await;
    let (status, _) = post(served.address, "/breakers", FORCE).header("x-towpath-admin", "1").json().await;
    assert_eq!(status, 403);
    rig.call("Shop.Sell").await.unwrap();

    let served = serve(Admin::new().writable(true).target("shop", rig.target.clone())).await;
    // A form of another site cannot send the header.
    let (status, _) = post(served.address, "/breakers", FORCE).json().await;
    assert_eq!(status, 403);
    let (status, ..) = get(served.address, "/breakers").header("x-towpath-admin", "1").send().await;
    assert_eq!(status, 405);
    rig.call("Shop.Sell").await.unwrap();
    for (body, is) in
        [("", 400), ("{}", 400), (&FORCE.replace("Sell", "Buy"), 404), (&FORCE.replace("open", "ajar"), 400)]
    {
        let (status, _) = post(served.address, "/breakers", body).header("x-towpath-admin", "1").json().await;
        assert_eq!(status, is, "{body}");
    }
    let force = async |mode: &str| {
        let body = FORCE.replace("open", mode);
        let (status, _) =
            post(served.address, "/breakers", &body).header("x-towpath-admin", "1").json().await;
        assert_eq!(status, 200);
    };
    force("open").await;
    rig.call("Shop.Sell").await.unwrap_err();
    let fault = rig.recorder.faults(1).remove(0);
    assert_eq!((&*fault.code, fault.attempts), ("MCP-W-105", 0));
    let explained = rig.recorder.explain(&fault.trace_id).unwrap();
    assert!(explained.decisions[1].what.contains("a layer above turned it away"), "{explained:?}");
    force("closed").await;
    rig.call("Shop.Sell").await.unwrap();
    force("automatic").await;
    let (_, snapshot) = get(served.address, "/snapshot.json").json().await;
    let breaker = &snapshot["targets"][0]["breakers"][0];
    assert_eq!((&breaker["mode"], &breaker["rejected"]), (&json!("automatic"), &json!(1)));
}

#[tokio::test]
async fn who_has_no_token_sees_nothing() {
    let metrics = Router::new().route("/", route(async || "calls 7"));
    let admin = Admin::new().target("shop", rig().target).token("s3cret").writable(true).metrics(metrics);
    let served = serve(admin).await;
    let guarded = ["/snapshot.json", "/stack.json", "/endpoints.json", "/events", "/metrics", "/explain/1"];
    for path in guarded {
        for given in [None, Some("Bearer s3cre"), Some("Bearer s3crets"), Some("Basic s3cret"), Some("é")] {
            let mut ask = get(served.address, path);
            if let Some(given) = given {
                ask.builder = ask.builder.header("authorization", given.as_bytes());
            }
            let (status, headers, body) = ask.send().await;
            assert_eq!(
                (status, headers["www-authenticate"].as_bytes()),
                (401, b"Bearer".as_slice()),
                "{path} {given:?}"
            );
            assert!(!body.contains("shop"), "{body}");
        }
    }
    let (status, _) = post(served.address, "/breakers", FORCE).header("x-towpath-admin", "1").json().await;
    assert_eq!(status, 401);
    let (status, _, body) =
        get(served.address, "/metrics").header("authorization", "bearer s3cret").send().await;
    assert_eq!((status, &*body), (200, "calls 7"));
    for open in ["/", "/admin.js", "/admin.css", "/health/live", "/health/ready"] {
        let (status, headers, body) = get(served.address, open).send().await;
        assert_eq!(status, 200, "{open}");
        assert!(!body.contains("shop"), "{open}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
    }
}

#[tokio::test]
async fn a_page_of_somebody_else_reads_nothing() {
    let served = serve(Admin::new().target("shop", rig().target)).await;
    let (status, ..) = get(served.address, "/snapshot.json").header("host", "evil.example:80").send().await;
    assert_eq!(status, 403);
    let (status, headers, _) =
        get(served.address, "/snapshot.json").header("origin", "http://evil.example").send().await;
    assert_eq!(status, 200);
    assert!(!headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn it_is_nested_and_says_what_it_is_told_of_health() {
    let admin = Admin::new()
        .target("shop", rig().target)
        .health(async || "alive", async || (axum::http::StatusCode::SERVICE_UNAVAILABLE, "draining"));
    let app = Router::new().nest("/ops/admin", admin.router()).route("/", route(async || "the app"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    let (status, _, page) = get(address, "/ops/admin").send().await;
    assert_eq!(status, 200);
    assert!(page.contains(r#"<base href="/ops/admin/">"#), "{page}");
    for path in ["/ops/admin/admin.js", "/ops/admin/admin.css", "/ops/admin/snapshot.json"] {
        assert_eq!(get(address, path).send().await.0, 200, "{path}");
    }
    assert_eq!(get(address, "/ops/admin/health/live").send().await.2, "alive");
    assert_eq!(get(address, "/ops/admin/health/ready").send().await.0, 503);
    assert_eq!(get(address, "/").send().await.2, "the app");
}

#[tokio::test]
async fn a_stream_is_live_and_ends_with_the_server() {
    let mut rig = rig();
    let served = serve(Admin::new().target("shop", rig.target.clone())).await;
    let response = get(served.address, "/events").header("last-event-id", "not a number").open().await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut next = async || {
        let mut text = String::new();
        while !text.ends_with("\n\n") {
            let frame = timeout(LONG, body.frame()).await.expect("an event a second")?.ok()?;
            text += std::str::from_utf8(frame.data_ref()?).ok()?;
        }
        let data = text.lines().find_map(|line| line.strip_prefix("data:"))?;
        serde_json::from_str::<Value>(data).ok()
    };
    let calls = |event: &Value| event["targets"][0]["traffic"]["calls"].as_u64().unwrap();
    assert_eq!(calls(&next().await.unwrap()), 0);
    for _ in 0..5 {
        rig.call("Shop.Sell").await.unwrap();
    }
    while calls(&next().await.unwrap()) < 5 {}
    drop(served.stop);
    while next().await.is_some() {}
    timeout(LONG, served.serving).await.expect("the server ends").unwrap().unwrap();
}

#[tokio::test]
async fn it_listens_on_loopback_unless_there_is_a_token() {
    let admin = Admin::new().target("none", Target::server());
    let refused = admin.clone().serve("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("token"), "{refused}");
    drop(admin.token("t").serve("0.0.0.0:0".parse().unwrap()).await.unwrap());
}
