//! A client that checks its endpoints.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use towpath::{
    Client, Endpoint, EndpointStatus, Router, Server,
    health::{HealthChecker, HealthConfig, HealthOptions},
};

async fn replica(name: &'static str) -> SocketAddr {
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr();
    tokio::spawn(server.serve(Router::new().route("A.Who", move || async move { name })).into_future());
    address
}

/// Stands before a server, and is frozen at times: connections stay, and nothing passes.
async fn freezer(to: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (frozen, state) = watch::channel(false);
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut state = state.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let mut copy = std::pin::pin!(copy_bidirectional(&mut near, &mut far));
                while state.wait_for(|frozen| !frozen).await.is_ok() {
                    let freezes = async { state.wait_for(|frozen| *frozen).await.is_ok() };
                    tokio::select! {
                        _ = &mut copy => return,
                        _ = freezes => {}
                    }
                }
            });
        }
    });
    (address, frozen)
}

/// Checks often; nobody waits for a default's 5 s.
fn often() -> HealthConfig {
    let time = Duration::from_millis(200);
    HealthConfig::try_new(HealthOptions { interval: time, timeout: time, ..HealthOptions::default() })
        .unwrap()
}

async fn who(client: &Client, calls: usize) -> BTreeSet<String> {
    let mut answers = BTreeSet::new();
    for _ in 0..calls {
        answers.insert(client.request("A.Who").raw("").send().await.unwrap());
    }
    answers
}

async fn until_unhealthy(client: &Client, wanted: usize) {
    let checker = client.health().unwrap();
    while checker.counts().unhealthy != wanted {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn until_answers(client: &Client, wanted: &[&str]) {
    while !who(client, 40).await.iter().eq(wanted) {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Nobody calls meanwhile: the first call after that is made where somebody answers.
#[tokio::test]
async fn a_frozen_endpoint_gets_no_calls_and_one_that_thaws_does() {
    let story = async {
        let (a, b) = (replica("a").await, replica("b").await);
        let (a, frozen) = freezer(a).await;
        let client = Client::builder().health(often()).connect(format!("mcp://{a},{b}")).await.unwrap();
        until_answers(&client, &["a", "b"]).await;
        frozen.send_replace(true);
        until_unhealthy(&client, 1).await;
        assert!(who(&client, 100).await.iter().eq(["b"]));
        let endpoints = client.endpoints().unwrap();
        assert_eq!((endpoints.counts().ready, endpoints.counts().unhealthy), (1, 1));
        frozen.send_replace(false);
        until_answers(&client, &["a", "b"]).await;
        until_unhealthy(&client, 0).await;

        // When the client is closed nobody is checked any more.
        let checker = client.health().unwrap();
        client.close();
        while checker.counts().endpoints > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), story).await.unwrap();
}

#[tokio::test]
async fn a_checker_of_ones_own_decides() {
    let story = async {
        let (a, b) = (replica("a").await, replica("b").await);
        let broken = Arc::new(AtomicBool::new(false));
        let probe = {
            let (broken, a) = (broken.clone(), format!("mcp://{a}"));
            move |endpoint: Endpoint| {
                let failed = broken.load(Relaxed) && **endpoint.address() == *a;
                async move { if failed { Err("its disk is full") } else { Ok(()) } }
            }
        };
        let checker = HealthChecker::builder(probe).config(often()).build();
        let url = format!("mcp://{a},{b}");
        let client = Client::builder().health_by(checker.clone()).connect(&url).await.unwrap();
        until_answers(&client, &["a", "b"]).await;
        broken.store(true, Relaxed);
        until_unhealthy(&client, 1).await;
        assert!(who(&client, 100).await.iter().eq(["b"]));
        let views = client.endpoints().unwrap().endpoints();
        let out: Vec<_> = views.iter().filter(|one| one.status == EndpointStatus::Unhealthy).collect();
        assert_eq!((out.len(), &**out[0].endpoint.address()), (1, &*format!("mcp://{a}")));
        // Two clients may share it, each with endpoints of its own.
        let other = Client::builder().health_by(checker.clone()).connect(&url).await.unwrap();
        until_unhealthy(&other, 2).await;
        assert_eq!(checker.counts().endpoints, 4);
    };
    timeout(Duration::from_secs(60), story).await.unwrap();
}

#[tokio::test]
async fn a_client_of_one_address_has_no_checks() {
    let at = replica("a").await;
    let client = Client::builder().health(often()).connect(format!("mcp://{at}")).await.unwrap();
    assert!(client.health().is_none() && who(&client, 1).await.iter().eq(["a"]));
    let client = Client::connect(format!("mcp://{at},{at}")).await.unwrap();
    assert!(client.health().is_none(), "nobody asked for them");
}
