//! A calls B, and B calls C; each would make three attempts.

use crate::house::{from, network, open_loop, serve};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use towpath::{
    BudgetConfig, CallError, Client, ClientPolicies, DefaultClassify, Fault, Json, Router, fault_codes,
    policies::ClientStack, retry::RetryConfig,
};

fault_codes! {
    /// What C fails with.
    enum CFault {
        /// It comes and goes.
        Down = "CCC-E-001", "the store of C is down", transient, unhealthy;
    }
}

fault_codes! {
    /// What B fails with.
    enum BFault {
        /// C did not answer.
        NoAnswer = "BBB-E-001", "C gave no answer", transient, unhealthy;
    }
}

struct Chain {
    a: Client,
    at_b: Arc<AtomicU64>,
    at_c: Arc<AtomicU64>,
    broken: Arc<AtomicBool>,
}

/// `policies` are those of the clients in A and in B.
fn chain(policies: impl Fn() -> ClientStack) -> Chain {
    let network = network();
    let (at_b, at_c) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let broken = Arc::new(AtomicBool::new(true));
    let (count, breaks) = (at_c.clone(), broken.clone());
    let c = Router::new().route("C.Get", move || {
        count.fetch_add(1, Relaxed);
        let broken = breaks.load(Relaxed);
        async move { if broken { Err(Fault::from(CFault::Down)) } else { Ok(Json("fine")) } }
    });
    serve(&network, "c", c);
    let client = |host, to: &str| {
        let client = from(&network, host).idempotent("*").policies(policies());
        client.connect_lazy(format!("mcp://{to}:1")).unwrap()
    };
    let (to_c, count) = (client("b", "c"), at_b.clone());
    let b = Router::new().route("B.Get", move || {
        count.fetch_add(1, Relaxed);
        let to_c = to_c.clone();
        async move {
            let answer = to_c.call::<String>("C.Get", &()).await;
            answer.map(Json).map_err(|error| error.wrapped_in(BFault::NoAnswer))
        }
    });
    serve(&network, "b", b);
    Chain { a: client("a", "b"), at_b, at_c, broken }
}

fn classify() -> DefaultClassify {
    DefaultClassify::new().declare(CFault::declared()).declare(BFault::declared())
}

/// The budget without its reserve, so that the share is all there is.
fn retry_alone() -> ClientStack {
    let budget = BudgetConfig::try_new(0.2, 0).unwrap();
    let mut policies = ClientPolicies::none();
    policies.retry = Some(RetryConfig::default().with_budget(budget));
    policies.stack_with(classify())
}

/// Without any of it C would see nine calls for each of A's.
#[tokio::test(start_paused = true)]
async fn pitfall_8_retries_do_not_multiply_down_a_chain() {
    let chain = chain(retry_alone);
    let a = chain.a.clone();
    let made = open_loop(1_000, Duration::from_secs(10), move |_| {
        let a = a.clone();
        async move { a.call::<String>("B.Get", &()).await }
    });
    let made = made.await;
    let (calls, at_b, at_c) = (made.len() as u64, chain.at_b.load(Relaxed), chain.at_c.load(Relaxed));
    assert!(made.iter().all(|answer| answer.is_err()));
    assert!(at_c * 10 <= calls * 12, "{calls} calls of A, {at_b} at B, {at_c} at C");
    assert!(at_c > calls, "the budget was used: {at_c} of {calls}");
    // What A is told: whose fault it is, and what was behind it.
    let error = made.into_iter().find_map(Result::err).unwrap();
    let CallError::Fault(fault) = &error else { panic!("{error}") };
    assert_eq!((fault.code().as_str(), fault.cause().unwrap().as_str()), ("BBB-E-001", "CCC-E-001"));
}

/// With the usual policies C is hardly called while it is down, and all is well soon after it is.
#[tokio::test(start_paused = true)]
async fn pitfall_8_the_chain_recovers() {
    let chain = chain(|| ClientPolicies::default().stack_with(classify()));
    let (a, broken) = (chain.a.clone(), chain.broken.clone());
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        broken.store(false, Relaxed);
    });
    let start = tokio::time::Instant::now();
    let made = open_loop(1_000, Duration::from_secs(20), move |at| {
        let a = a.clone();
        async move { (at - start, a.call::<String>("B.Get", &()).await.is_ok()) }
    });
    let made = made.await;
    let after = |seconds| made.iter().filter(move |(at, _)| *at >= Duration::from_secs(seconds));
    assert!(made.iter().filter(|(at, _)| *at < Duration::from_secs(9)).all(|(_, ok)| !ok));
    let failed = after(15).filter(|(_, ok)| !ok).count();
    assert_eq!(failed, 0, "of {} calls from 5 s after the end of the outage", after(15).count());
    let at_c = chain.at_c.load(Relaxed);
    assert!(at_c < 12_000, "breakers kept calls off: {at_c} at C of {}", made.len());
}
