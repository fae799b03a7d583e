//! Policies as values: read from a file, looked at and replaced while they run.

use crate::house::{from, network, serve};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use towpath::{
    CallError, ClientPolicies, DefaultClassify, ErrorKind, Fault, Json, Router, ServerPolicies,
    breaker::State, fault_codes,
};

fault_codes! {
    /// What the bad method fails with.
    enum BadFault {
        /// Always.
        Broken = "BAD-E-001", "broken", transient, unhealthy;
    }
}

#[test]
fn the_form_in_a_file() {
    let read = |text| serde_json::from_str::<ClientPolicies>(text);
    assert_eq!(read("{}").unwrap(), ClientPolicies::default());
    let none = read(r#"{"breaker": null, "endpoint_breaker": null, "retry": null}"#).unwrap();
    assert_eq!(none, ClientPolicies::none());
    let text = serde_json::to_string(&ClientPolicies::default()).unwrap();
    assert_eq!(read(&text).unwrap(), ClientPolicies::default());
    let refused = |text| read(text).unwrap_err().to_string();
    assert!(refused(r#"{"retries": {}}"#).contains("unknown field"));
    assert!(refused(r#"{"retry": {"max_attempts": 0}}"#).contains("max_attempts"));
    assert_eq!(serde_json::from_str::<ServerPolicies>("{}").unwrap(), ServerPolicies::default());
    let none = serde_json::from_str::<ServerPolicies>(r#"{"admission": null}"#).unwrap();
    assert_eq!(none, ServerPolicies::none());
}

/// A method that always fails: retried, then left alone, and seen from outside. Then the policies are replaced.
#[tokio::test(start_paused = true)]
async fn what_they_did_is_seen_and_can_be_changed() {
    let (network, calls) = (network(), Arc::new(AtomicU64::new(0)));
    let count = calls.clone();
    let router = Router::new().route("Bad.Get", move || {
        count.fetch_add(1, Relaxed);
        async { Err::<(), _>(Fault::from(BadFault::Broken)) }
    });
    serve(&network, "s", router.route("Good.Get", async || Json("fine")));
    let classify = DefaultClassify::new().declare(BadFault::declared());
    let stack = ClientPolicies::default().stack_with(classify);
    let handles = stack.handles();
    let client = from(&network, "c").idempotent("*").policies(stack).connect_lazy("mcp://s:1").unwrap();
    let ask = |method| client.call::<String>(method, &());

    let error = ask("Bad.Get").await.unwrap_err();
    assert_eq!(error.fault().unwrap().code(), "BAD-E-001");
    assert_eq!(calls.load(Relaxed), 3);
    while !matches!(&ask("Bad.Get").await, Err(CallError::Failed(e)) if e.kind() == ErrorKind::CircuitOpen) {
        assert!(calls.load(Relaxed) < 500);
    }
    let breakers = handles.breakers.unwrap();
    assert_eq!(breakers.get("Bad.Get").unwrap().state(), State::Open);
    assert_eq!(ask("Good.Get").await.unwrap(), "fine");
    assert!(handles.retry.as_ref().unwrap().counts().retries >= 2);

    breakers.get("Bad.Get").unwrap().force_close();
    let retry = handles.retry.unwrap();
    retry.config().update(|_| serde_json::from_str(r#"{"max_attempts": 1}"#)).unwrap();
    let before = calls.load(Relaxed);
    assert!(ask("Bad.Get").await.is_err());
    assert_eq!(calls.load(Relaxed), before + 1);
}
