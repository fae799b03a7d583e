//! One course of a scenario: a runtime of its own, whose time jumps from one event to the next.

use crate::{
    Failure,
    ledger::Ledger,
    picker::Picker,
    scenario::{PATIENCE, Scenario},
    stack::{Caller, Known, Layers, client},
    world::Server,
};
use bytes::Bytes;
use fastrand::Rng;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};
use towpath_core::{Context, Endpoint, Request, context::Field};

/// Which layers the clients have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who picks.
    pub picker: Picker,
    /// Whether endpoints have breakers.
    pub breaker: bool,
    /// Whether calls are attempted again.
    pub retry: bool,
}

impl Line {
    /// What the tables call it.
    pub fn name(&self) -> String {
        let Line { picker, breaker, retry } = self;
        let layers = [(breaker, " + breaker"), (retry, " + retry")]
            .map(|(there, name)| if *there { name } else { "" });
        format!("{}{}", picker.name(), layers.concat())
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What became of all calls.
    pub ledger: Ledger,
    /// How many attempts the servers saw for each call.
    pub attempts: f64,
    /// For each second, of the server to which most clients connected within a tenth of it: how many did, as a share of
    /// all.
    pub rush: Vec<f64>,
}

/// Before it is watched, everybody connects and learns.
const BEFORE: Duration = Duration::from_secs(10);
/// Clients begin within this time.
const ARRIVE: Duration = Duration::from_secs(4);
/// Calls come from the start of this time on.
const CALLS_FROM: Duration = Duration::from_secs(5);
/// So many different affinity keys.
const KEYS: usize = 20_000;

/// Runs a scenario.
///
/// # Errors
/// If no runtime can be made, or there are more clients than an aperture has numbers.
pub fn run(scenario: &Scenario, line: Line, seed: u64) -> Result<Outcome, Failure> {
    // What the layers draw by lot, they draw from the generator of this thread.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(course(scenario, line, seed))
}

async fn course(scenario: &Scenario, line: Line, seed: u64) -> Result<Outcome, Failure> {
    let Line { picker, breaker, retry } = line;
    let begin = Instant::now();
    let layers = Layers { breaker, retry };
    let rng = |number: u64| Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
    let servers: Vec<_> = (0..)
        .zip(&scenario.servers)
        .map(|(number, site)| Arc::new(Server::new(site.make, rng(number))))
        .collect();
    let known = || {
        (0..).zip(servers.iter().zip(&scenario.servers)).map(|(number, (server, site)): (u32, _)| {
            let endpoint = Endpoint::new(format!("mcp://server-{number}:8080")).with_weight(site.weight);
            Known { endpoint, server: server.clone() }
        })
    };
    let mut clients: Vec<Box<dyn Caller>> = Vec::with_capacity(scenario.clients);
    for number in 0..scenario.clients {
        sleep_until(begin + ARRIVE.mul_f64(number as f64 / scenario.clients as f64)).await;
        clients.push(client(picker.make(number, scenario.clients)?, layers, known().collect(), begin));
    }
    sleep_until(begin + CALLS_FROM).await;

    let start = begin + BEFORE;
    for event in &scenario.course {
        let targets: Vec<_> = event.to.iter().filter_map(|number| servers.get(*number).cloned()).collect();
        let (at, order) = (start + event.at, event.order);
        tokio::spawn(async move {
            sleep_until(at).await;
            targets.iter().for_each(|server| server.obey(order));
        });
    }
    let all = servers.clone();
    tokio::spawn(async move {
        sleep_until(start).await;
        all.iter().for_each(|server| server.count_anew());
    });
    let ledger = Arc::new(Mutex::new(Ledger::new(scenario.seconds)));
    call(scenario, &clients, start, &ledger, rng(u64::MAX)).await;
    let counts: Vec<_> = servers.iter().map(|server| server.counts()).collect();
    // Those who began last have their answers by then.
    tokio::time::sleep(PATIENCE * 2).await;
    let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let attempts: u64 = counts.iter().map(|counts| counts.attempts).sum();
    let most = |tenths: std::ops::Range<usize>| {
        let connects = counts
            .iter()
            .flat_map(|counts| counts.connects.get(tenths.start..tenths.end.min(counts.connects.len())));
        connects.flatten().copied().max().unwrap_or(0)
    };
    let tenths = |second| {
        let from = (BEFORE.as_secs() as usize + second) * 10;
        from..from + 10
    };
    let rush = (0..scenario.seconds)
        .map(|second| f64::from(most(tenths(second))) / scenario.clients as f64)
        .collect();
    Ok(Outcome { attempts: attempts as f64 / ledger.total().calls.max(1) as f64, rush, ledger })
}

/// Calls come as they do from many people who do not know of each other, whatever became of those before.
async fn call(
    scenario: &Scenario,
    clients: &[Box<dyn Caller>],
    start: Instant,
    ledger: &Arc<Mutex<Ledger>>,
    mut rng: Rng,
) {
    let keys: Vec<Bytes> = (0..KEYS).map(|key| Bytes::from(format!("key-{key}"))).collect();
    let end = start + Duration::from_secs(scenario.seconds as u64);
    let mut at = Instant::now();
    loop {
        // The times between independent events are distributed exponentially.
        at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / scenario.per_second);
        if at >= end {
            return;
        }
        if at > Instant::now() {
            sleep_until(at).await;
        }
        let began = Instant::now();
        let client = &clients[rng.usize(..clients.len())];
        let mut context = Context::new();
        context.set_deadline(Some(began + PATIENCE));
        context.set_idempotent(true);
        context.set_field(Field::AffinityKey, Some(keys[rng.usize(..KEYS)].clone()));
        let answer = client.call(Request::with_context("Shop.Order", context, Bytes::new()));
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let ok = answer.await.is_ok();
            // Who fails has waited in vain, however short: it counts as all the time that there was.
            let took = if ok { began.elapsed() } else { PATIENCE };
            if let Some(began) = began.checked_duration_since(start) {
                ledger.lock().unwrap_or_else(PoisonError::into_inner).add(began, took, ok);
            }
        });
    }
}
