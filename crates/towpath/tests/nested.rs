//! Calls made while another one is handled: deadlines shrink, cancellation falls through, faults keep their
//! first cause.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Serving, UserFault, serve, soon, until};
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use towpath::{CallError, Client, Context, Fault, Json, Priority, Router, State, context, fault_codes};

fault_codes! {
    /// What the service in the middle fails with.
    enum OrderFault {
        /// The customer could not be looked up.
        NoCustomer = "ORD-E-101", "no customer";
    }
}

/// One hop of a chain: what it calls, and how many of its handlers are at work.
#[derive(Clone)]
struct Hop {
    next: Option<Client>,
    busy: Arc<AtomicI32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    left_ms: u64,
    priority: u8,
}

/// Counts a handler for as long as it lives.
struct Busy(Arc<AtomicI32>);

impl Busy {
    fn new(hop: &Hop) -> Self {
        hop.busy.fetch_add(1, SeqCst);
        Busy(hop.busy.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// What is left here and at every hop below.
async fn left(State(hop): State<Hop>, context: Context) -> Result<Json<Vec<Seen>>, Fault> {
    let left = context.remaining(Instant::now()).unwrap_or_default();
    sleep(Duration::from_millis(20)).await;
    let mut seen = vec![Seen { left_ms: left.as_millis() as u64, priority: context.priority().level() }];
    if let Some(next) = &hop.next {
        let below: Vec<Seen> =
            next.call("Chain.Left", &()).await.map_err(|error| error.wrapped_in(OrderFault::NoCustomer))?;
        seen.extend(below);
    }
    Ok(Json(seen))
}

/// The same, with the call below made on a task of its own.
async fn spawned(State(hop): State<Hop>) -> Result<Json<Vec<Seen>>, Fault> {
    let Some(next) = hop.next else { return Err(UserFault::NoSuchUser.into()) };
    let below = context::spawn(async move { next.call("Chain.Left", &()).await });
    let below: Vec<Seen> = below.await.unwrap().map_err(|error| error.wrapped_in(OrderFault::NoCustomer))?;
    Ok(Json(below))
}

/// The last hop never answers.
async fn hang(State(hop): State<Hop>) -> Json<()> {
    let _busy = Busy::new(&hop);
    match &hop.next {
        Some(next) => {
            let _ = next.call::<()>("Chain.Hang", &()).await;
        }
        None => sleep(Duration::from_secs(3_600)).await,
    }
    Json(())
}

/// The last hop fails on purpose.
async fn fail(State(hop): State<Hop>) -> Result<Json<()>, Fault> {
    match &hop.next {
        Some(next) => {
            let below = next.call("Chain.Fail", &()).await;
            below.map(Json).map_err(|error: CallError| error.wrapped_in(OrderFault::NoCustomer))
        }
        None => Err(UserFault::NoSuchUser.into()),
    }
}

struct Chain {
    client: Client,
    busy: Arc<AtomicI32>,
    _servers: Vec<Serving>,
}

/// `hops` servers, each calling the next; the client calls the first.
async fn chain(hops: usize) -> Chain {
    let busy = Arc::new(AtomicI32::new(0));
    let (mut next, mut servers) = (None, Vec::new());
    for _ in 0..hops {
        let router = Router::new()
            .route("Chain.Left", left)
            .route("Chain.Spawned", spawned)
            .route("Chain.Hang", hang)
            .route("Chain.Fail", fail)
            .with_state(Hop { next: next.take(), busy: busy.clone() });
        let server = serve(router).await;
        next = Some(Client::connect_lazy(server.url()).unwrap());
        servers.push(server);
    }
    Chain { client: next.unwrap(), busy, _servers: servers }
}

#[tokio::test]
async fn what_is_left_shrinks_over_three_hops() {
    let chain = chain(3).await;
    let call = chain.client.request("Chain.Left").timeout(Duration::from_millis(2_000));
    let seen: Vec<Seen> = soon(call.priority(Priority::new(6)).send()).await.unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen[0].left_ms <= 2_000 && seen[0].left_ms > 1_000, "{seen:?}");
    for pair in seen.windows(2) {
        assert!(pair[1].left_ms + 19 <= pair[0].left_ms, "each hop takes 20 ms: {seen:?}");
    }
    assert!(seen.iter().all(|seen| seen.priority == 6), "{seen:?}");
}

#[tokio::test]
async fn a_deadline_goes_along_to_a_spawned_task() {
    let chain = chain(2).await;
    let call = chain.client.request("Chain.Spawned").timeout(Duration::from_millis(1_500));
    let seen: Vec<Seen> = soon(call.send()).await.unwrap();
    assert!(seen[0].left_ms <= 1_500, "{seen:?}");
}

#[tokio::test]
async fn who_gives_up_stops_every_hop() {
    let chain = chain(3).await;
    // By dropping the call.
    let call = tokio::spawn(chain.client.call::<()>("Chain.Hang", &()));
    until("all hops are at it", || chain.busy.load(SeqCst) == 3).await;
    call.abort();
    until("all hops have stopped", || chain.busy.load(SeqCst) == 0).await;

    // By the deadline.
    let call = chain.client.request("Chain.Hang").timeout(Duration::from_millis(300)).send::<()>();
    let call = tokio::spawn(call);
    until("all hops are at it", || chain.busy.load(SeqCst) == 3).await;
    assert!(soon(call).await.unwrap().unwrap_err().is_timeout());
    until("all hops have stopped", || chain.busy.load(SeqCst) == 0).await;

    // The connections are as good as before.
    let seen: Vec<Seen> = soon(chain.client.call("Chain.Left", &())).await.unwrap();
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn a_fault_is_wrapped_at_every_hop_and_keeps_its_first_cause() {
    let chain = chain(3).await;
    let error = soon(chain.client.call::<()>("Chain.Fail", &())).await.unwrap_err();
    let fault = error.fault().unwrap();
    assert_eq!((fault.code().as_str(), fault.cause().unwrap().as_str()), ("ORD-E-101", "USR-E-001"));
    let codes: Vec<&str> = fault.chain().iter().map(|code| code.as_str()).collect();
    assert_eq!(codes, ["ORD-E-101", "ORD-E-101", "USR-E-001"]);
}
