//! How calls to many endpoints go wrong, and that they do not here: a test for each known way, over real sockets and
//! with the defaults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::{soon, until};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet, time::Instant};
use towpath::{
    BoxError, CallError, Client, ClientPolicies, EndpointStatus, Error, ErrorKind, Request, Response, Server,
    balance::{BalanceConfig, BalanceHandle, BalanceOptions},
};

/// One of many that do the same.
#[derive(Default)]
struct Host {
    calls: AtomicUsize,
    /// Of a thousand calls so many fail, at once.
    failing: AtomicU64,
    /// The one method that fails everywhere.
    broken: AtomicBool,
    /// How long it takes to answer.
    takes_ms: AtomicU64,
}

impl Host {
    fn takes(ms: u64) -> Arc<Self> {
        Arc::new(Host { takes_ms: ms.into(), ..Host::default() })
    }

    fn failing(self: Arc<Self>, per_mille: u64) -> Arc<Self> {
        self.failing.store(per_mille, SeqCst);
        self
    }

    async fn answer(self: Arc<Self>, request: Request) -> Result<Response, BoxError> {
        let call = self.calls.fetch_add(1, SeqCst) as u64;
        // Evenly, and not the same ones on each host.
        let fails = call.wrapping_mul(617) % 1_000 < self.failing.load(SeqCst);
        if fails || (self.broken.load(SeqCst) && request.method().as_str() == "A.Broken") {
            return Err(Error::new(ErrorKind::HandlerFailed).into());
        }
        let takes = self.takes_ms.load(SeqCst);
        if takes > 0 {
            tokio::time::sleep(Duration::from_millis(takes)).await;
        }
        Ok(Response::new(Bytes::new()))
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    async fn serve_at(self: &Arc<Self>, address: SocketAddr) {
        let server = Server::builder().bind(address).await.unwrap();
        self.serve(server);
    }

    fn serve(self: &Arc<Self>, server: Server) {
        let host = self.clone();
        let service = tower::service_fn(move |request| host.clone().answer(request));
        tokio::spawn(server.serve(service).into_future());
    }
}

/// Serves them all, and says where.
async fn serve(hosts: &[Arc<Host>]) -> String {
    let mut places = Vec::new();
    for host in hosts {
        let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
        places.push(server.local_addr().to_string());
        host.serve(server);
    }
    format!("mcp://{}", places.join(","))
}

fn calls(hosts: &[Arc<Host>]) -> Vec<usize> {
    hosts.iter().map(|host| host.calls()).collect()
}

/// So many callers, until so many calls are made; how many failed, and the time that each took.
async fn load(client: &Client, method: &'static str, callers: usize, calls: usize) -> (usize, Vec<Duration>) {
    let left = Arc::new(AtomicUsize::new(calls));
    let mut set = JoinSet::new();
    for _ in 0..callers {
        let (client, left) = (client.clone(), left.clone());
        set.spawn(async move {
            let (mut failed, mut times) = (0, Vec::new());
            while left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                let begin = Instant::now();
                let outcome: Result<Bytes, CallError> =
                    client.request(method).raw("").idempotent().send().await;
                failed += usize::from(outcome.is_err());
                times.push(begin.elapsed());
            }
            (failed, times)
        });
    }
    let mut total = (0, Vec::with_capacity(calls));
    while let Some(one) = set.join_next().await {
        let (failed, times) = one.unwrap();
        total.0 += failed;
        total.1.extend(times);
    }
    total.1.sort_unstable();
    total
}

/// All of them are connected, so that none is left out for not being there yet.
async fn all_ready(client: &Client, count: u32) -> BalanceHandle {
    client.ready().await.unwrap();
    let endpoints = client.endpoints().unwrap();
    until("all are connected", || endpoints.counts().ready == count).await;
    endpoints
}

// ---- 6: a dead endpoint looks ready, or one that failed once is gone for good ---------------------------

#[tokio::test]
async fn p06_a_closed_port_costs_no_call_and_is_used_when_it_is_open() {
    let hosts = [Host::takes(0), Host::takes(0), Host::takes(0)];
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("{},{dead}", serve(&hosts[..2]).await);
    let client = Client::connect(&url).await.unwrap();
    let (failed, _) = soon(load(&client, "A.Get", 8, 10_000)).await;
    assert_eq!((failed, hosts[2].calls()), (0, 0), "no retry, and no failure");

    hosts[2].serve_at(dead).await;
    let since = Instant::now();
    let fair = async {
        loop {
            let before = calls(&hosts);
            assert_eq!(load(&client, "A.Get", 8, 900).await.0, 0);
            let now = calls(&hosts);
            let least = now.iter().zip(before).map(|(now, before)| now - before).min().unwrap();
            if least > 200 {
                return;
            }
        }
    };
    soon(fair).await;
    assert!(
        since.elapsed() < Duration::from_secs(10),
        "twice the longest wait before a connect: {:?}",
        since.elapsed()
    );
}

// ---- 7: a fast failure attracts all traffic -------------------------------------------------------------

#[tokio::test]
async fn p07_who_fails_fast_attracts_nothing() {
    let hosts = [Host::takes(10), Host::takes(10), Host::takes(10), Host::takes(10).failing(1_000)];
    // Nothing but the pick: no breaker, no retry.
    let client = Client::builder().connect(&serve(&hosts).await).await.unwrap();
    all_ready(&client, 4).await;
    load(&client, "A.Get", 32, 400).await;
    let before = calls(&hosts);
    let (failed, _) = soon(load(&client, "A.Get", 32, 4_000)).await;
    let at_worst = hosts[3].calls() - before[3];
    assert_eq!(failed, at_worst);
    assert!(at_worst < 40, "{at_worst} of 4 000 calls went to the one that fails");
}

// ---- 4: one endpoint that blocks holds up the others ----------------------------------------------------

#[tokio::test]
async fn p04_one_that_hangs_holds_up_nobody_else() {
    let hosts = [Host::takes(2), Host::takes(2), Host::takes(2), Host::takes(2)];
    let client =
        Client::builder().timeout(Duration::from_secs(2)).connect(&serve(&hosts).await).await.unwrap();
    all_ready(&client, 4).await;
    let (failed, times) = soon(load(&client, "A.Get", 16, 2_000)).await;
    assert_eq!(failed, 0);
    let usual = times[times.len() * 99 / 100];

    hosts[0].takes_ms.store(60_000, SeqCst);
    let (failed, times) = soon(load(&client, "A.Get", 16, 4_000)).await;
    // Those that were there before it was seen to hang.
    assert!(failed <= 20, "{failed} of 4 000 calls ran into their deadline");
    let others = times[(times.len() - failed) * 99 / 100];
    assert!(others < usual * 3 + Duration::from_millis(20), "p99 {others:?}, and {usual:?} before");
}

// ---- 11: one scope for the breaker ----------------------------------------------------------------------

async fn armoured(hosts: &[Arc<Host>], attempts: bool) -> (Client, BalanceHandle) {
    let mut policies = ClientPolicies::default();
    if !attempts {
        policies.retry = None;
    }
    let client = Client::builder().policies(policies).connect(&serve(hosts).await).await.unwrap();
    let endpoints = all_ready(&client, hosts.len() as u32).await;
    (client, endpoints)
}

fn ejected(endpoints: &BalanceHandle) -> usize {
    let out = |status| matches!(status, EndpointStatus::Ejected { .. });
    endpoints.endpoints().iter().filter(|one| out(one.status)).count()
}

#[tokio::test]
async fn p11_one_bad_host_of_ten_is_out_and_nothing_else() {
    let hosts: Vec<_> = (0..10).map(|n| Host::takes(1).failing(if n == 3 { 1_000 } else { 0 })).collect();
    let (client, endpoints) = armoured(&hosts, true).await;
    let mut failed = 0;
    let seen = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        failed += soon(load(&client, "A.Get", 20, 500)).await.0;
        seen.fetch_max(ejected(&endpoints), Relaxed);
    }
    assert_eq!(failed, 0, "an attempt after a failure goes elsewhere");
    assert!(seen.load(Relaxed) <= 1, "{:#?}", endpoints.endpoints());
    let share = hosts[3].calls() * 1_000 / calls(&hosts).iter().sum::<usize>();
    assert!(share < 20, "{share} of 1 000 attempts");
}

#[tokio::test]
async fn p11_one_bad_method_everywhere_is_left_alone_and_no_host_is_out() {
    let hosts: Vec<_> = (0..10).map(|_| Host::takes(1)).collect();
    for host in &hosts {
        host.broken.store(true, SeqCst);
    }
    let (client, endpoints) = armoured(&hosts, true).await;
    for _ in 0..10 {
        let (bad, good) = tokio::join!(load(&client, "A.Broken", 10, 250), load(&client, "A.Get", 10, 250));
        assert_eq!((bad.0, good.0), (250, 0), "the good method is served throughout");
        assert_eq!(ejected(&endpoints), 0, "{:#?}", endpoints.endpoints());
    }
    // One call in a while is let through, to find out whether it is well again.
    for _ in 0..100 {
        let refused = client.request("A.Broken").raw("").send::<Bytes>().await.unwrap_err();
        let CallError::Failed(refused) = refused else { panic!("{refused}") };
        if refused.kind() == ErrorKind::CircuitOpen {
            return;
        }
    }
    panic!("the breaker of the method is not open");
}

// ---- 12: everything is ejected --------------------------------------------------------------------------

#[tokio::test]
async fn p12_where_all_are_bad_as_much_is_served_as_they_can() {
    let hosts: Vec<_> = (0..10).map(|_| Host::takes(1).failing(500)).collect();
    // No retry, and no breaker of the method: what the endpoints' breakers and the balancer make of it.
    let mut policies = ClientPolicies::default();
    (policies.breaker, policies.retry) = (None, None);
    let client = Client::builder().policies(policies).connect(&serve(&hosts).await).await.unwrap();
    let endpoints = all_ready(&client, 10).await;
    for round in 0..10 {
        let (failed, _) = soon(load(&client, "A.Get", 20, 1_000)).await;
        assert!(failed <= 550, "round {round}: {failed} of 1 000 failed; {:#?}", endpoints.endpoints());
        assert_eq!(ejected(&endpoints), 0, "{:#?}", endpoints.endpoints());
    }
}

// ---- 27: nothing is on by default -----------------------------------------------------------------------

/// A peer that accepts, and then says nothing, as one that was stopped by a signal.
#[tokio::test]
async fn p27_a_frozen_peer_costs_its_calls_a_deadline_and_is_replaced() {
    let hosts = [Host::takes(0), Host::takes(0)];
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("{},{}", serve(&hosts).await, frozen.local_addr().unwrap());
    let client = Client::builder().timeout(Duration::from_secs(1)).connect(&url).await.unwrap();
    let begin = Instant::now();
    let (failed, times) = soon(load(&client, "A.Get", 8, 20_000)).await;
    assert!(failed <= 16, "{failed} of 20 000, in {:?}", begin.elapsed());
    assert!(times.last().unwrap() < &Duration::from_millis(1_500), "{:?}", times.last());
}

/// Waiting for an endpoint is bounded: where there is none, a call says so long before its deadline.
#[tokio::test]
async fn a_call_that_finds_nobody_says_so_in_time() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let wait = Duration::from_millis(300);
    let balance = BalanceConfig::try_new(BalanceOptions { wait, ..BalanceOptions::default() }).unwrap();
    let client =
        Client::builder().balance(balance).connect_lazy(format!("mcp://{gone},127.0.0.1:1")).unwrap();
    let begin = Instant::now();
    let refused = client.request("A.Get").raw("").send::<Bytes>().await.unwrap_err();
    let CallError::Failed(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.kind(), ErrorKind::NoEndpoint, "{refused}");
    assert!((wait..Duration::from_secs(3)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
}
