//! Leases, watches and bounds of a registry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::ms;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;
use towpath_core::{CodecId, Fault, Request};
use towpath_discover::Instance;
use towpath_registry::{Happened, Registry, RegistryConfig, RegistryEvent, RegistryFault};

/// As a program in another language asks.
async fn ask_within(
    registry: &Registry,
    method: &'static str,
    body: Value,
    time: Option<std::time::Duration>,
) -> Result<Value, Fault> {
    let mut request = Request::new(method, body.to_string().into());
    request.set_codec(CodecId::JSON);
    request.context_mut().set_deadline(time.map(|time| Instant::now() + time));
    let response = registry.router().oneshot(request).await.unwrap();
    match response.is_fault() {
        true => Err(Fault::from_response(&response).unwrap()),
        false => Ok(serde_json::from_slice(response.body()).unwrap()),
    }
}

async fn ask(registry: &Registry, method: &'static str, body: Value) -> Result<Value, Fault> {
    ask_within(registry, method, body, None).await
}

fn addresses(answer: &Value) -> Vec<&str> {
    answer["instances"].as_array().unwrap().iter().map(|one| one["address"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn two_missed_heartbeats_end_a_lease() {
    let registry = Registry::new();
    let given = ask(
        &registry,
        "Registry.Register",
        json!({"service": "orders", "instance": {"address": "mcp://a:1"}}),
    )
    .await
    .unwrap();
    assert_eq!((&given["heartbeat_ms"], &given["lease_ms"]), (&json!(10_000), &json!(20_000)));
    let lease = json!({"lease": given["lease"]});
    for _ in 0..5 {
        sleep(ms(19_999)).await;
        ask(&registry, "Registry.Heartbeat", lease.clone()).await.unwrap();
    }
    sleep(ms(19_999)).await;
    assert_eq!(registry.list("orders").len(), 1);
    sleep(ms(1)).await;
    assert_eq!(registry.list("orders").len(), 0);
    let refused = ask(&registry, "Registry.Heartbeat", lease.clone()).await.unwrap_err();
    assert_eq!(refused.code(), RegistryFault::UnknownLease.code());
    assert_eq!(ask(&registry, "Registry.Deregister", lease).await.unwrap(), json!({"found": false}));
}

#[tokio::test(start_paused = true)]
async fn a_watch_waits_for_what_happens() {
    let registry = Registry::new();
    sleep(ms(20_000)).await;
    // At first there is an answer at once, though it is empty.
    let first =
        ask(&registry, "Registry.Watch", json!({"service": "orders", "wait_ms": 30_000})).await.unwrap();
    assert_eq!(
        (&first["full"], &first["complete"], addresses(&first).len()),
        (&json!(true), &json!(true), 0)
    );
    let watch = |from: &Value| {
        let body =
            json!({"service": "orders", "epoch": from["epoch"], "index": from["index"], "wait_ms": 30_000});
        let registry = registry.clone();
        tokio::spawn(async move {
            let begin = Instant::now();
            (ask(&registry, "Registry.Watch", body).await.unwrap(), begin.elapsed())
        })
    };
    let waiting = watch(&first);
    sleep(ms(5_000)).await;
    // Of another service nobody hears.
    registry.register("users", Instance::new("mcp://u:1"), None).unwrap();
    sleep(ms(1_000)).await;
    let lease = registry.register("orders", Instance::new("mcp://a:1").with_weight(3), None).unwrap();
    let (second, took) = waiting.await.unwrap();
    assert_eq!(took, ms(6_000));
    assert_eq!((&second["full"], &second["instances"][0]["weight"]), (&json!(false), &json!(3)));
    // A lease that runs out is heard of when it does, though nobody else comes.
    let (third, took) = watch(&second).await.unwrap();
    assert_eq!(took, ms(20_000));
    assert_eq!((&third["removed"], addresses(&third).len()), (&json!(["mcp://a:1"]), 0));
    assert!(registry.heartbeat(&lease).is_err());
    // Nothing happens: the same index again, after the time that was asked for.
    let (fourth, took) = watch(&third).await.unwrap();
    assert_eq!((took, &fourth["index"], &fourth["full"]), (ms(30_000), &third["index"], &json!(false)));
}

#[tokio::test(start_paused = true)]
async fn a_watch_answers_before_its_caller_gives_up() {
    let registry = Registry::new();
    sleep(ms(20_000)).await;
    let first = ask(&registry, "Registry.Watch", json!({"service": "orders"})).await.unwrap();
    let body =
        json!({"service": "orders", "epoch": first["epoch"], "index": first["index"], "wait_ms": 3_600_000});
    let begin = Instant::now();
    ask_within(&registry, "Registry.Watch", body.clone(), Some(ms(10_000))).await.unwrap();
    assert_eq!(begin.elapsed(), ms(8_000));
    let begin = Instant::now();
    ask(&registry, "Registry.Watch", body).await.unwrap();
    assert_eq!(begin.elapsed(), ms(60_000), "and never later than it is configured");
}

#[tokio::test(start_paused = true)]
async fn who_comes_from_elsewhere_gets_the_whole_list() {
    let registry = Registry::new();
    registry.register("orders", Instance::new("mcp://a:1"), None).unwrap();
    sleep(ms(20_000)).await;
    registry.register("orders", Instance::new("mcp://b:1"), None).unwrap();
    let now = ask(&registry, "Registry.List", json!({"service": "orders"})).await.unwrap();
    assert_eq!(addresses(&now), ["mcp://b:1"]);
    let index = now["index"].as_u64().unwrap();
    for (epoch, index) in
        [(json!("other"), index), (now["epoch"].clone(), index + 1), (now["epoch"].clone(), 0)]
    {
        let body = json!({"service": "orders", "epoch": epoch, "index": index, "wait_ms": 30_000});
        let answer = timeout(ms(1), ask(&registry, "Registry.Watch", body)).await.unwrap().unwrap();
        assert_eq!((&answer["full"], addresses(&answer)), (&json!(true), vec!["mcp://b:1"]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_registry_says_that_it_may_not_know_all() {
    let registry = Registry::new();
    let first = ask(&registry, "Registry.Watch", json!({"service": "orders"})).await.unwrap();
    assert_eq!(first["complete"], json!(false));
    let body = json!({"service": "orders", "epoch": first["epoch"], "index": first["index"],
        "complete": false, "wait_ms": 60_000});
    let begin = Instant::now();
    let whole = ask(&registry, "Registry.Watch", body).await.unwrap();
    assert_eq!(
        (&whole["complete"], &whole["full"], begin.elapsed()),
        (&json!(true), &json!(true), ms(20_000))
    );
}

#[tokio::test(start_paused = true)]
async fn who_registers_under_an_id_has_it() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = events.clone();
    let observe = move |event: &RegistryEvent| {
        heard.lock().unwrap().push((event.instance.address().to_string(), event.what));
    };
    let registry = Registry::with(RegistryConfig::default(), observe);
    let one = Instance::new("mcp://a:1").with_key("1");
    let first = registry.register("orders", one.clone(), None).unwrap();
    // Under its lease it is described anew; the same again is nothing.
    let same = registry.register("orders", one.clone().with_weight(2), Some(&first)).unwrap();
    assert_eq!(same, first);
    registry.register("orders", one.clone().with_weight(2), Some(&first)).unwrap();
    // Without it, it is somebody else.
    let other = registry.register("orders", Instance::new("mcp://b:1").with_key("1"), None).unwrap();
    assert_ne!(other, first);
    assert!(registry.heartbeat(&first).is_err() && !registry.deregister(&first));
    assert_eq!(&**registry.list("orders")[0].address(), "mcp://b:1");
    assert!(registry.deregister(&other));
    // A lease of one id is none for another one.
    let third = registry.register("orders", one, Some(&other)).unwrap();
    assert_ne!(third, other);
    sleep(ms(20_000)).await;
    assert_eq!(registry.services(), []);
    let (a, b) = ("mcp://a:1".to_owned(), "mcp://b:1".to_owned());
    assert_eq!(
        *events.lock().unwrap(),
        [
            (a.clone(), Happened::Registered),
            (a.clone(), Happened::Described),
            (b.clone(), Happened::Replaced),
            (b, Happened::Deregistered),
            (a.clone(), Happened::Registered),
            (a, Happened::Expired),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_is_refused() {
    let config = RegistryConfig::default().with_most(2, 3).unwrap();
    let config = config.with_max_service_bytes(2_000).unwrap();
    let registry = Registry::with(config, ());
    let register = |service: &str, instance: Instance| registry.register(service, instance, None);
    let refused = |outcome: Result<_, Fault>| {
        let fault: Fault = outcome.map(|_: towpath_registry::LeaseId| ()).unwrap_err();
        (fault.code().to_string(), fault.message().to_owned())
    };
    for (service, instance) in [
        ("", Instance::new("a")),
        ("a b", Instance::new("a")),
        ("s", Instance::new("a\n")),
        ("s", Instance::new("")),
        ("s", Instance::new("a").with_weight(u32::MAX)),
    ] {
        assert_eq!(refused(register(service, instance)).0, "REG-E-001");
    }
    assert_eq!(registry.services(), []);
    let big = Instance::new("a").with_label("v", "x".repeat(1_900));
    assert!(refused(register("s", big)).1.contains("max_service_bytes"));
    let lease = register("s", Instance::new("a")).unwrap();
    register("s", Instance::new("b")).unwrap();
    register("t", Instance::new("a")).unwrap();
    assert!(refused(register("t", Instance::new("b"))).1.contains("max_instances"));
    register("t", Instance::new("a").with_weight(9)).unwrap();
    assert!(registry.deregister(&lease));
    let (code, why) = refused(register("u", Instance::new("a")));
    assert_eq!((code.as_str(), why.contains("max_services is 2")), ("REG-W-003", true), "{why}");
    // Services of which nothing is left make room.
    sleep(ms(20_000)).await;
    register("u", Instance::new("a")).unwrap();
    register("v", Instance::new("a")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_watched_a_service_that_made_room_hears_that_it_is_gone() {
    let registry = Registry::with(RegistryConfig::default().with_most(1, 9).unwrap(), ());
    sleep(ms(20_000)).await;
    let lease = registry.register("s", Instance::new("a"), None).unwrap();
    let seen = ask(&registry, "Registry.List", json!({"service": "s"})).await.unwrap();
    registry.deregister(&lease);
    registry.register("t", Instance::new("a"), None).unwrap();
    let body = json!({"service": "s", "epoch": seen["epoch"], "index": seen["index"], "wait_ms": 30_000});
    let answer = timeout(ms(1), ask(&registry, "Registry.Watch", body)).await.unwrap().unwrap();
    assert_eq!((&answer["full"], addresses(&answer).len()), (&json!(true), 0));
}

#[tokio::test(start_paused = true)]
async fn watches_are_counted_and_can_be_sent_home() {
    let config = RegistryConfig::default().with_watches(2, ms(60_000)).unwrap();
    let registry = Registry::with(config, ());
    sleep(ms(20_000)).await;
    let first = ask(&registry, "Registry.Watch", json!({"service": "s"})).await.unwrap();
    let body = json!({"service": "s", "epoch": first["epoch"], "index": first["index"], "wait_ms": 60_000});
    let waiting = || {
        let (registry, body) = (registry.clone(), body.clone());
        tokio::spawn(async move { ask(&registry, "Registry.Watch", body).await })
    };
    let (one, two) = (waiting(), waiting());
    sleep(ms(1)).await;
    let refused = waiting().await.unwrap().unwrap_err();
    assert!(refused.code() == "MCP-W-103" && refused.not_processed(), "{refused}");
    // One that is given up gives its place back.
    one.abort();
    sleep(ms(1)).await;
    let three = waiting();
    sleep(ms(1)).await;
    let begin = Instant::now();
    registry.drain();
    for watch in [two, three, waiting()] {
        assert_eq!(watch.await.unwrap().unwrap()["index"], first["index"]);
    }
    assert_eq!(begin.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused() {
    let registry = Registry::new();
    let code = |fault: Fault| fault.code().to_string();
    for (method, body, refused) in [
        ("Registry.Register", json!({"service": "s"}), "MCP-E-006"),
        ("Registry.Register", json!({"service": "", "instance": {"address": "a"}}), "REG-E-001"),
        ("Registry.Heartbeat", json!({"lease": "x"}), "REG-E-002"),
        ("Registry.Heartbeat", json!({"lease": "+123456789012345678901234567890a"}), "REG-E-002"),
        ("Registry.List", json!({"service": "a/b"}), "REG-E-001"),
        ("Registry.Watch", json!({"service": "a\n"}), "REG-E-001"),
        ("Registry.Elect", json!({}), "MCP-E-004"),
    ] {
        assert_eq!(code(ask(&registry, method, body).await.unwrap_err()), refused, "{method}");
    }
    let all = ask(&registry, "Registry.Services", json!(null)).await.unwrap();
    assert_eq!(all["services"], json!([]));
}
