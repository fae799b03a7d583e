//! A client and its one connection: made late, lost, made again.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Nap, router, serve, serve_at, soon, until};
use std::{net::SocketAddr, time::Duration};
use tokio::{io::AsyncReadExt, net::TcpListener, time::Instant};
use towpath::{CallError, Client, ClientState, Error, ErrorKind, Processed};

/// A port on which nobody listens (any more).
async fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn url(address: SocketAddr) -> String {
    format!("mcp://{address}")
}

#[track_caller]
fn not_connected(error: &Error) {
    assert_eq!((error.kind(), error.processed()), (ErrorKind::ConnectFailed, Processed::No), "{error}");
}

#[tokio::test]
async fn a_first_connect_that_fails_is_told() {
    let address = dead().await;
    let error = soon(Client::connect(url(address))).await.unwrap_err();
    not_connected(&error);
    let text = error.to_string();
    assert!(text.contains(&url(address)) && text.contains("check that the service runs"), "{text}");
    for bad in ["", "127.0.0.1:80", "http://127.0.0.1:80", "mcp://127.0.0.1"] {
        let text = Client::connect(bad).await.unwrap_err().to_string();
        assert!(text.contains("mcp://127.0.0.1:8080"), "{text}");
        assert!(Client::connect_lazy(bad).is_err());
    }
}

#[test]
fn a_lazy_client_does_nothing_until_it_is_used() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    // Outside of any runtime.
    let client = Client::connect_lazy(url(listener.local_addr().unwrap())).unwrap();
    assert!(matches!(client.state(), ClientState::Idle));
    assert!(listener.accept().is_err(), "nobody has connected");
    runtime().block_on(async {
        let used = client.clone();
        drop(used.request("A.B"));
        drop(used.call::<u8>("A.B", &1));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(matches!(client.state(), ClientState::Idle), "a call that is not awaited is no use");
        soon(client.ready()).await.unwrap();
        assert!(matches!(client.state(), ClientState::Connected));
        assert!(listener.accept().is_ok());
    });
}

#[test]
fn a_client_outlives_a_runtime() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let serving = runtime();
    let server = serving.block_on(serve(router()));
    let client = Client::connect_lazy(server.url()).unwrap();
    for n in 0..3u8 {
        let one = runtime();
        assert_eq!(one.block_on(client.call::<u8>("Echo.Echo", &n)).unwrap(), n);
        drop(one);
    }
}

#[tokio::test]
async fn a_call_to_nobody_waits_no_longer_than_its_deadline() {
    let client = Client::connect_lazy(url(dead().await)).unwrap();
    let begun = Instant::now();
    let call = client.request("A.B").timeout(Duration::from_millis(300)).send::<u8>();
    let error = soon(call).await.unwrap_err();
    not_connected(error.error().unwrap());
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(299) && waited < Duration::from_secs(5), "{waited:?}");
    match client.state() {
        ClientState::Connecting { since, last_error: Some(error) } => {
            not_connected(&error);
            assert!(since >= begun && since.elapsed() >= Duration::from_millis(290));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_without_a_deadline_fails_with_the_connect() {
    let client = Client::builder().without_defaults().connect_lazy(url(dead().await)).unwrap();
    for _ in 0..3 {
        let error = soon(client.call::<u8>("A.B", &1)).await.unwrap_err();
        not_connected(error.error().unwrap());
    }
}

#[tokio::test]
async fn calls_wait_for_a_service_that_comes_late() {
    let address = dead().await;
    let client = Client::connect_lazy(url(address)).unwrap();
    let calls: Vec<_> = (0..500u32).map(|n| tokio::spawn(client.call::<u32>("Echo.Echo", &n))).collect();
    // Some give up meanwhile.
    for _ in 0..50 {
        let gone = tokio::spawn(client.call::<u32>("Echo.Echo", &1));
        tokio::task::yield_now().await;
        gone.abort();
    }
    until("a connect has failed", || {
        matches!(client.state(), ClientState::Connecting { last_error: Some(_), .. })
    })
    .await;
    let _server = serve_at(address, router()).await;
    for (n, call) in (0..).zip(calls) {
        assert_eq!(soon(call).await.unwrap().unwrap(), n);
    }
    soon(client.ready()).await.unwrap();
}

#[tokio::test]
async fn what_was_waited_is_not_left_for_the_callee() {
    let address = dead().await;
    let client = Client::connect_lazy(url(address)).unwrap();
    let own = client.request("Debug.Left").timeout(Duration::from_secs(5)).send::<Option<u64>>();
    let inherited = client.call::<Option<u64>>("Debug.Left", &());
    let (own, inherited) = (tokio::spawn(own), tokio::spawn(inherited));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let _server = serve_at(address, router()).await;
    let left = soon(own).await.unwrap().unwrap().unwrap();
    assert!((1..=4_400).contains(&left), "{left} ms of 5 s after 600 ms");
    let left = soon(inherited).await.unwrap().unwrap().unwrap();
    assert!((1..=9_400).contains(&left), "{left} ms of 10 s after 600 ms");
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let mut server = serve(router()).await;
    let address = server.address;
    let client = Client::connect(url(address)).await.unwrap();
    for n in 0..4u8 {
        assert_eq!(soon(client.call::<u8>("Echo.Echo", &n)).await.unwrap(), n);
        assert!(matches!(client.state(), ClientState::Connected));
        let nap = tokio::spawn(client.call::<u64>("Debug.Sleep", &Nap { ms: 60_000 }));
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.kill().await;
        let lost = soon(nap).await.unwrap().unwrap_err();
        assert_eq!(lost.error().unwrap().kind(), ErrorKind::ConnectionLost, "{lost}");
        assert_eq!(lost.processed(), Processed::Unknown);
        until("the loss is seen", || matches!(client.state(), ClientState::Connecting { .. })).await;
        server = serve_at(address, router()).await;
    }
}

#[tokio::test]
async fn a_peer_that_goes_away_is_left_and_found_again() {
    let server = serve(router()).await;
    let address = server.address;
    let client = Client::connect(url(address)).await.unwrap();
    let nap = tokio::spawn(client.call::<u64>("Debug.Sleep", &Nap { ms: 300 }));
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.drain.send(()).unwrap();
    until("the client knows", || !matches!(client.state(), ClientState::Connected)).await;
    let next = serve_again(address).await;
    // One is finished on the old connection while another is made on the new.
    assert_eq!(soon(client.call::<u8>("Echo.Echo", &9)).await.unwrap(), 9);
    assert_eq!(soon(nap).await.unwrap().unwrap(), 300);
    soon(server.task).await.unwrap().unwrap();
    next.kill().await;
}

/// Nobody calls meanwhile.
#[tokio::test]
async fn p05_who_restarts_is_connected_before_the_next_call() {
    let servers = [serve(router()).await, serve(router()).await];
    let places = servers.each_ref().map(|server| server.address);
    let one = Client::connect(url(places[0])).await.unwrap();
    let many = Client::connect(format!("mcp://{},{}", places[0], places[1])).await.unwrap();
    let endpoints = many.endpoints().unwrap();
    until("both are connected", || endpoints.counts().ready == 2).await;
    for server in servers {
        server.kill().await;
    }
    until("both losses are seen", || endpoints.counts().ready == 0).await;
    until("and the other client's", || matches!(one.state(), ClientState::Connecting { .. })).await;
    let again = [serve_at(places[0], router()).await, serve_at(places[1], router()).await];
    until("both are back", || endpoints.counts().ready == 2).await;
    until("the other one too", || matches!(one.state(), ClientState::Connected)).await;
    let connects = one.pool().unwrap().stats().connects;
    for client in [one.clone(), many] {
        assert_eq!(soon(client.call::<u8>("Echo.Echo", &7)).await.unwrap(), 7);
    }
    assert_eq!((connects, one.pool().unwrap().stats().connects), (2, 2), "the call made none");
    for server in again {
        server.kill().await;
    }
}

/// Listens on a port that a draining server has just left.
async fn serve_again(address: SocketAddr) -> common::Serving {
    for _ in 0..200 {
        if let Ok(probe) = TcpListener::bind(address).await {
            drop(probe);
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    serve_at(address, router()).await
}

#[tokio::test]
async fn clones_share_one_connection_and_the_last_one_closes_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::connect_lazy(url(listener.local_addr().unwrap())).unwrap();
    let (first, second) = (client.clone(), client.clone());
    let (a, b) = tokio::join!(first.ready(), second.ready());
    a.and(b).unwrap();
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let other = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(other.is_err(), "a second connection");
    drop((client, first));
    let mut seen = Vec::new();
    let open = tokio::time::timeout(Duration::from_millis(50), stream.read_to_end(&mut seen)).await;
    assert!(open.is_err(), "closed while a clone lives");
    drop(second);
    soon(stream.read_to_end(&mut seen)).await.unwrap();
}

#[tokio::test]
async fn dropping_the_client_ends_the_connecting() {
    let address = dead().await;
    let client = Client::connect_lazy(url(address)).unwrap();
    let call = client.request("A.B").timeout(Duration::from_millis(50)).send::<u8>();
    assert!(call.await.is_err());
    drop(client);
    tokio::task::yield_now().await;
    let listener = TcpListener::bind(address).await.unwrap();
    let tried = tokio::time::timeout(Duration::from_millis(500), listener.accept()).await;
    assert!(tried.is_err(), "still connecting");
}

#[tokio::test]
async fn a_closed_client_makes_no_calls() {
    let server = serve(router()).await;
    let client = Client::connect(server.url()).await.unwrap();
    let nap = tokio::spawn(client.call::<u64>("Debug.Sleep", &Nap { ms: 100 }));
    tokio::time::sleep(Duration::from_millis(30)).await;
    client.clone().close();
    assert!(matches!(client.state(), ClientState::Closed));
    let error: CallError = soon(client.call::<u8>("Echo.Echo", &1)).await.unwrap_err();
    assert_eq!((error.error().unwrap().kind(), error.processed()), (ErrorKind::Draining, Processed::No));
    assert!(soon(client.ready()).await.is_err());
    assert_eq!(soon(nap).await.unwrap().unwrap(), 100, "what was outstanding is answered");
}

#[tokio::test]
async fn a_peer_that_hangs_up_at_once_is_not_called_in_a_tight_loop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::connect_lazy(url(listener.local_addr().unwrap())).unwrap();
    let ask = tokio::spawn(client.request("A.B").timeout(Duration::from_millis(500)).send::<u8>());
    let mut accepted = 0;
    let _ = tokio::time::timeout(Duration::from_millis(500), async {
        loop {
            drop(listener.accept().await.unwrap());
            accepted += 1;
        }
    })
    .await;
    assert!((2..=60).contains(&accepted), "{accepted} connects in 500 ms");
    assert!(ask.await.unwrap().is_err());
}
