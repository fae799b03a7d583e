//! What single routes tell: its shape, how much of it there may be, and for whom it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{get, rig, serve};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use towpath_admin::{Admin, Force, Target};
use towpath_breaker::{BreakerConfig, BreakerLayer};
use towpath_core::{BoxError, Request, Response};

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn methods_have_their_own_route_and_there_is_an_end_to_them() {
    let mut rig = rig();
    let served = serve(Admin::new().target("shop", rig.target.clone())).await;
    let (status, told) = get(served.address, "/methods.json").json().await;
    assert_eq!(
        (status, told),
        (200, json!({"targets": [{"name": "shop", "side": "client", "methods": []}]}))
    );

    rig.call("Shop.Refuse").await.unwrap();
    for _ in 0..3 {
        rig.call("Shop.Sell").await.unwrap();
    }
    let (_, told) = get(served.address, "/methods.json").json().await;
    let methods = told["targets"][0]["methods"].as_array().unwrap();
    let fields = ["calls", "failed", "faults", "name", "p50_us", "p99_us", "rate", "success"];
    assert_eq!(keys(&methods[0]), fields.into_iter().collect());
    let counts = |one: &Value| (one["name"].clone(), one["calls"].clone(), one["faults"].clone());
    // In which order depends on the clock.
    let mut seen: Vec<_> = methods.iter().map(counts).collect();
    seen.sort_by_key(|(_, calls, _)| calls.as_u64());
    assert_eq!(seen, [(json!("Shop.Refuse"), json!(1), json!(1)), (json!("Shop.Sell"), json!(3), json!(0))]);

    for n in 0..100 {
        rig.call(format!("Many.M{n}").leak()).await.unwrap();
    }
    let (.., body) = get(served.address, "/methods.json").send().await;
    assert!(!body.contains("secret"), "{body}");
    let told: Value = serde_json::from_str(&body).unwrap();
    let methods = told["targets"][0]["methods"].as_array().unwrap();
    assert_eq!((methods.len(), &methods[64]["name"]), (65, &json!("")), "64, and the rest in one");
    let calls: u64 = methods.iter().map(|one| one["calls"].as_u64().unwrap()).sum();
    assert_eq!(calls, 104, "nobody is left out");
}

#[tokio::test]
async fn the_time_line_has_its_own_route_and_there_is_an_end_to_it() {
    let mut rig = rig();
    rig.call("Shop.Sell").await.unwrap();
    let served = serve(Admin::new().target("shop", rig.target.clone())).await;
    let timeline = async || {
        let (status, _, body) = get(served.address, "/timeline.json").send().await;
        assert_eq!(status, 200);
        assert!(!body.contains("secret"), "{body}");
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(keys(&told), ["events"].into());
        told["events"].as_array().unwrap().clone()
    };
    assert_eq!(timeline().await, [] as [Value; 0]);
    for n in 0..30 {
        for (force, mode) in [(Force::Open, "forced open"), (Force::Automatic, "automatic")] {
            assert!(rig.target.force("method:Shop.Sell", force));
            let events = timeline().await;
            assert!(events.len() <= 50, "{n}: {}", events.len());
            let newest = events.iter().max_by_key(|one| one["at_ms"].as_u64()).unwrap();
            assert_eq!(keys(newest), ["at_ms", "kind", "level", "target", "what", "who"].into());
            let said = format!("{mode} by hand");
            let of = |one: &&Value| one["what"] == said.as_str() && one["who"] == "Shop.Sell";
            let told = events.iter().find(of).unwrap();
            assert_eq!((&told["target"], &told["kind"]), (&json!("shop"), &json!("breaker")));
        }
    }
    assert_eq!(timeline().await.len(), 50, "the oldest are dropped");
}

#[tokio::test]
async fn single_routes_are_for_who_has_the_token() {
    let mut rig = rig();
    rig.call("Shop.Sell").await.unwrap();
    let served = serve(Admin::new().target("shop", rig.target.clone()).token("s3cret")).await;
    for path in ["/methods.json", "/timeline.json"] {
        for given in ["", "Bearer s3cre", "Basic s3cret"] {
            let (status, _, body) = get(served.address, path).header("authorization", given).send().await;
            assert_eq!(status, 401, "{path} {given:?}");
            assert!(!body.contains("shop") && !body.contains("Shop"), "{path}: {body}");
        }
        let (status, ..) = get(served.address, path).header("authorization", "Bearer s3cret").send().await;
        assert_eq!(status, 200, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_calls_are_shown_with_their_breaker() {
    let config: BreakerConfig =
        serde_json::from_str(r#"{"slow_ms": 100, "slow_rate": 0.5, "min_calls": 8, "open_ms": 60000}"#)
            .unwrap();
    let breaker = BreakerLayer::new(config).per_method().honour_context();
    let target = Target::client().breakers(breaker.handle());
    let admin = Admin::new().target("shop", target);
    assert_eq!(admin.snapshot().events, []);
    let service = ServiceBuilder::new().layer(breaker).service(service_fn(async |request: Request| {
        let takes = if request.body() == "slow" { 100 } else { 99 };
        tokio::time::sleep(Duration::from_millis(takes)).await;
        Ok::<_, BoxError>(Response::new("".into()))
    }));
    let call = async |slow: bool| {
        let request = Request::new("Shop.Slow", if slow { "slow" } else { "" }.into());
        service.clone().oneshot(request).await
    };
    let seen = || {
        let shown = admin.snapshot().targets.remove(0).breakers.remove(0);
        (shown.state, shown.calls, shown.failures, shown.slow)
    };
    for slow in [false, false, false, false, true, true, true] {
        call(slow).await.unwrap();
    }
    assert_eq!(seen(), ("closed".to_owned(), 7, 0, 3), "to the millisecond, and none of them failed");
    call(true).await.unwrap();
    assert_eq!(seen(), ("open".to_owned(), 8, 0, 4));
    let told = &admin.snapshot().events[0];
    assert_eq!((&*told.who, &*told.what), ("Shop.Slow", "opened: 0 of 8 calls failed and 4 were slow"));
}

#[tokio::test(start_paused = true)]
async fn who_watches_sees_what_happens_while_nobody_asks() {
    let mut rig = rig();
    rig.call("Shop.Sell").await.unwrap();
    let admin = Admin::new().target("shop", rig.target.clone());
    let second = || tokio::time::sleep(Duration::from_secs(1));
    let watching = tokio::spawn({
        let admin = admin.clone();
        async move { admin.watch().await }
    });
    // It has looked at the beginning; nobody else has.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for force in [Force::Open, Force::Automatic, Force::Closed] {
        assert!(rig.target.force("method:Shop.Sell", force));
        second().await;
    }
    let mut told: Vec<_> = admin.snapshot().events.into_iter().map(|one| one.what).collect();
    told.sort();
    assert_eq!(told, ["automatic by hand", "forced closed by hand", "forced open by hand"]);
    assert!(!watching.is_finished());
    admin.close();
    tokio::time::timeout(Duration::from_secs(1), watching).await.expect("it ends when it is closed").unwrap();
}
