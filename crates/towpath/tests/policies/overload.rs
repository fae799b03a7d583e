//! Three times as many calls as a service can do.

use crate::house::{from, network, open_loop, serve};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::sleep};
use tower_layer::Layer;
use towpath::{Client, Priority, Router, ServerPolicies};

/// Four workers, 10 to 30 ms a call: 200 calls a second.
const WORKERS: usize = 4;
const CAPACITY: u32 = 200;

/// A service that queues without bound what its workers cannot do at once.
fn service() -> Router {
    let workers = Arc::new(Semaphore::new(WORKERS));
    Router::new().route("Work.Do", move || {
        let workers = workers.clone();
        async move {
            let _turn = workers.acquire().await.unwrap();
            sleep(Duration::from_micros(10_000 + fastrand::u64(0..20_000))).await;
        }
    })
}

struct Seen {
    /// Answers in time, a second.
    goodput: f64,
    /// Of what was answered well.
    p99: Duration,
    refused: usize,
}

/// `share` of the capacity, for 20 s, of which the first five are not looked at.
async fn run(policies: ServerPolicies, share: f64) -> Seen {
    let network = network();
    serve(&network, "s", policies.stack().layer(service()));
    let clients: Vec<Client> = (0..4)
        .map(|_| {
            let client = from(&network, "c").timeout(Duration::from_secs(1));
            client.connect_lazy("mcp://s:1").unwrap()
        })
        .collect();
    let start = tokio::time::Instant::now();
    let (seconds, warm_up) = (20, 5);
    let per_second = (f64::from(CAPACITY) * share) as u32;
    let mut turn = 0;
    let calls = open_loop(per_second, Duration::from_secs(seconds), move |at| {
        turn += 1;
        let client = clients[turn % clients.len()].clone();
        async move {
            let answer = client.call::<()>("Work.Do", &()).await;
            (at - start, at.elapsed(), answer)
        }
    });
    let mut calls = calls.await;
    calls.retain(|(at, ..)| *at >= Duration::from_secs(warm_up));
    let mut took: Vec<_> = calls.iter().filter(|call| call.2.is_ok()).map(|call| call.1).collect();
    took.sort();
    Seen {
        goodput: took.len() as f64 / (seconds - warm_up) as f64,
        p99: took.get(took.len() * 99 / 100).copied().unwrap_or_default(),
        refused: calls
            .iter()
            .filter(|call| matches!(&call.2, Err(e) if e.to_string().contains("MCP-W-103")))
            .count(),
    }
}

#[tokio::test(start_paused = true)]
async fn pitfall_24_three_times_the_load_is_shed_and_the_rest_is_served_well() {
    let calm = run(ServerPolicies::default(), 0.7).await;
    let hard = run(ServerPolicies::default(), 3.0).await;
    assert!(calm.goodput > 0.69 * f64::from(CAPACITY), "{}", calm.goodput);
    assert!(hard.goodput > 0.9 * f64::from(CAPACITY), "{}", hard.goodput);
    assert!(hard.p99 < 2 * calm.p99, "{:?}, calm {:?}", hard.p99, calm.p99);
    assert!(hard.refused > 15 * CAPACITY as usize, "{}", hard.refused);
}

/// What the test above would show without admission: nobody is answered in time.
#[tokio::test(start_paused = true)]
async fn without_admission_nobody_is_served() {
    let hard = run(ServerPolicies::none(), 3.0).await;
    assert!(hard.goodput < 0.5 * f64::from(CAPACITY), "{}", hard.goodput);
}

/// While there is too much to do, those who matter more are served.
#[tokio::test(start_paused = true)]
async fn the_lowest_priority_is_shed_first() {
    let network = network();
    serve(&network, "s", ServerPolicies::default().stack().layer(service()));
    let client = from(&network, "c").timeout(Duration::from_secs(1)).connect_lazy("mcp://s:1").unwrap();
    let mut turn = 0u32;
    let calls = open_loop(3 * CAPACITY, Duration::from_secs(15), move |_| {
        turn += 1;
        let (client, high) = (client.clone(), turn.is_multiple_of(6));
        let priority = if high { Priority::new(6) } else { Priority::new(1) };
        async move { (high, client.request("Work.Do").priority(priority).send::<()>().await.is_ok()) }
    });
    let calls = calls.await;
    let share = |high| {
        let of = calls.iter().filter(|call| call.0 == high).count();
        calls.iter().filter(|call| **call == (high, true)).count() as f64 / of as f64
    };
    assert!(share(true) > 0.9 && share(false) < 0.4, "high: {}, low: {}", share(true), share(false));
}
