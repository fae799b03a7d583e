//! How long a connection may take to say something, and how old it may become.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower::Service;
use towpath_codec::{GoAwayReason, kind};
use towpath_core::{ErrorKind, Processed};
use towpath_transport::{Address, ClientConfig, Connection, Server, ServerConfig};

fn aging(age: u64, grace: u64) -> ServerConfig {
    ServerConfig {
        max_connection_age: Some(Duration::from_secs(age)),
        connection_age_grace: Duration::from_secs(grace),
        header_timeout: Duration::from_secs(100_000),
        keep_alive: None,
        ..ServerConfig::default()
    }
}

#[tokio::test(start_paused = true)]
async fn who_never_brings_a_header_is_asked_and_then_sent_away() {
    let start = Instant::now();
    let (mut peer, _drain, _, serving) = server(&ServerConfig::default());
    peer.expect(kind::PING).await;
    assert_eq!(start.elapsed().as_secs(), 10);
    let goaway = peer.expect_goaway().await;
    assert_eq!((goaway.reason, start.elapsed().as_secs()), (GoAwayReason::Idle, 20), "{}", goaway.text);
    assert!(peer.next().await.is_none());
    drop(peer);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_first_header_that_drips_in_is_not_waited_for() {
    let config = ServerConfig { header_timeout: Duration::from_secs(3), ..ServerConfig::default() };
    let (mut peer, _drain, _, _) = server(&config);
    let start = Instant::now();
    for byte in &request_frame(1, 0, &request("echo", ""))[..7] {
        peer.send([*byte]).await;
        sleep(Duration::from_millis(400)).await;
    }
    peer.expect(kind::PING).await;
    assert_eq!(peer.expect_goaway().await.reason, GoAwayReason::Idle);
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_to_say_yet_may_stay() {
    // A header alone, or an answer to the PING: both are signs of a peer that speaks MCP.
    let config = ServerConfig { keep_alive: None, ..ServerConfig::default() };
    let (mut quiet, _drain, _, _) = server(&config);
    let (mut slow, _drain2, _, _) = server(&config);
    let frame = request_frame(1, 0, &request("echo", "late"));
    slow.send(&frame[..8]).await;
    let value = quiet.expect_id(kind::PING).await;
    quiet.short(kind::PONG, value).await;
    sleep(Duration::from_secs(15)).await;
    slow.send(&frame[8..]).await;
    assert_eq!(slow.expect_response().await.0, 1);
    sleep(Duration::from_secs(3600)).await;
    quiet.request(1, &request("echo", "an hour later")).await;
    assert_eq!(quiet.expect_response().await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn our_own_client_speaks_in_time() {
    let (connection, _drain, _) = pair();
    sleep(Duration::from_secs(600)).await;
    connection.clone().call(request("echo", "after ten minutes")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_age_answers_what_it_has_begun_and_ends() {
    let (mut peer, _drain, seen, serving) = server(&aging(600, 600));
    let start = Instant::now();
    sleep(Duration::from_secs(530)).await;
    peer.request(3, &request("sleep", "0")).await;
    peer.expect_response().await;
    peer.request(8, &request("sleep", "139000")).await;
    let goaway = peer.expect_goaway().await;
    assert_eq!((goaway.reason, goaway.last_id), (GoAwayReason::Draining, 8), "{}", goaway.text);
    assert!((540..=660).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    // What crosses the GOAWAY is refused and not begun.
    peer.request(9, &request("echo", "crossing")).await;
    let begun = seen.begun();
    let (id, refused) = peer.expect_response().await;
    let fault = towpath_core::Fault::from_response(&refused).unwrap();
    assert!(id == 9 && fault.code() == "MCP-W-108" && fault.not_processed(), "{fault:?}");
    let (id, answer) = peer.expect_response().await;
    assert!(id == 8 && !answer.is_fault());
    assert_eq!(seen.begun(), begun);
    assert!(peer.next().await.is_none());
    drop(peer);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_grace_ends_the_calls_that_are_left() {
    let (mut peer, _drain, seen, _) = server(&aging(10, 2));
    peer.request(1, &request("sleep", "3600000")).await;
    peer.expect_goaway().await;
    let start = Instant::now();
    let (_, answer) = peer.expect_response().await;
    assert!(answer.is_fault() && start.elapsed().as_secs() == 2, "{:?}", start.elapsed());
    assert!(peer.next().await.is_none());
    until("the handler has stopped", || seen.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_shortens_the_grace_and_is_not_told_twice() {
    let config = ServerConfig { drain_timeout: Duration::from_secs(1), ..aging(10, 3600) };
    let (mut peer, drain, _, _) = server(&config);
    peer.request(1, &request("sleep", "3600000")).await;
    peer.expect_goaway().await;
    drain.start();
    let start = Instant::now();
    peer.expect_response().await;
    assert_eq!(start.elapsed().as_secs(), 1);
    assert!(peer.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn connections_that_come_together_do_not_age_together() {
    let start = Instant::now();
    let mut ages = Vec::new();
    let peers: Vec<_> = (0..200)
        .map(|_| {
            let (mut peer, drain, ..) = server(&aging(1000, 0));
            tokio::spawn(async move {
                let _drain = drain;
                peer.expect_goaway().await;
                start.elapsed().as_secs()
            })
        })
        .collect();
    for peer in peers {
        ages.push(peer.await.unwrap());
    }
    ages.sort_unstable();
    assert!(ages[0] >= 900 && ages[199] <= 1100, "{ages:?}");
    // A fleet that came in one second does not come again in any ten of the two hundred.
    let most =
        ages.iter().map(|from| ages.iter().filter(|age| (*from..*from + 10).contains(*age)).count()).max();
    assert!(most.unwrap() < 40, "{ages:?}");
}

#[tokio::test(start_paused = true)]
async fn the_client_s_own_calls_in_line_and_on_their_way_come_back_unharmed() {
    let config = ClientConfig { max_outstanding: 1, ..ClientConfig::default() };
    let (connection, _, mut peer) = client(&config);
    let mut begun = Box::pin(connection.clone().call(request("echo", "begun")));
    let mut waits = Box::pin(connection.clone().call(request("echo", "in line")));
    assert!(futures_poll(&mut begun).is_pending() && futures_poll(&mut waits).is_pending());
    assert!(begun.take_request().is_none(), "it goes on");
    let (id, _, _) = peer.expect_request().await;
    peer.goaway(&towpath_codec::GoAway { reason: GoAwayReason::Draining, last_id: id, text: String::new() })
        .await;
    let refused = waits.as_mut().await.unwrap_err();
    assert_eq!((refused.kind(), refused.processed()), (ErrorKind::Draining, Processed::No));
    assert_eq!(waits.take_request().unwrap().body(), "in line");
    assert!(waits.take_request().is_none() && waits.is_connection_closed());
    peer.respond(id, "done").await;
    assert_eq!(begun.await.unwrap().body(), "done");
}

fn futures_poll<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

/// In real time: a refused connection is one of the system's.
#[tokio::test]
async fn a_call_on_a_connection_above_the_limit_was_not_processed() {
    let config = ServerConfig { max_connections: 1, ..ServerConfig::default() };
    let server = Server::bind("127.0.0.1:0", config).await.unwrap();
    let address = Address::from(server.local_addr().unwrap());
    let seen = Seen::default();
    let service = {
        let seen = seen.clone();
        tower::service_fn(move |request| handle(request, seen.clone()))
    };
    let serving = tokio::spawn(server.serve(service).into_future());
    let config = ClientConfig::default();
    let first = Connection::connect(&address, &config).await.unwrap();
    first.clone().call(request("echo", "in")).await.unwrap();
    let second = Connection::connect(&address, &config).await.unwrap();
    let refused = second.clone().call(request("echo", "out")).await.unwrap_err();
    assert_eq!((refused.kind(), refused.processed()), (ErrorKind::Draining, Processed::No), "{refused}");
    assert!(refused.to_string().contains("too many connections"), "{refused}");
    assert_eq!(seen.begun(), 1);
    // The first one is served as before.
    first.clone().call(request("echo", "in")).await.unwrap();
    serving.abort();
}
