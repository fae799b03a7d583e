//! Client and server back to back, under faults: nothing panics, hangs, leaks or answers the wrong call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::*;
use proptest::prelude::*;
use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::io::AsyncWriteExt;
use tower::{Service, service_fn};
use towpath_core::{BoxError, ErrorKind, Request, Response};
use towpath_testing::assert_send;
use towpath_transport::{
    Address, ClientConfig, Connection, Drain, Driver, Outcome, ResponseFuture, Server, ServerConfig,
    ServerConnection,
};

fn call(connection: &Connection, request: Request) -> ResponseFuture {
    connection.clone().call(request)
}

#[test]
fn handles_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<Connection>();
    check::<Drain>();
    assert_send::<ResponseFuture>();
    assert_send::<Outcome>();
    assert_send::<Driver<tokio::net::TcpStream>>();
}

/// Polls a future so often, lets everything else run in between, and drops it.
async fn drop_after<F: Future>(future: F, polls: usize) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_dropped_at_every_await_point() {
    let (connection, _drain, seen) = pair();
    for method in ["echo", "sleep", "accept", "panic", "panic-late", "fail"] {
        for polls in 0..8 {
            let mut r = request(method, "60000");
            if method == "accept" {
                r.set_mode(towpath_core::Mode::Async);
            }
            let whole = async {
                let response = call(&connection, r).await?;
                match Outcome::take(&response) {
                    Some(outcome) => outcome.await,
                    None => Ok(response),
                }
            };
            drop_after(whole, polls).await;
            until("the handler has stopped", || seen.running() == 0).await;
            until("the slot is free", || connection.outstanding() == 0).await;
            let echo = call(&connection, request("echo", "still right")).await.unwrap();
            assert_eq!(&echo.into_body()[..], b"still right", "{method}, {polls} polls");
        }
    }
}

/// Over TCP, in real time: a thousand callers dropped at random moments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_dropped_at_random_moments_stop_their_handlers() {
    let seen = Seen::default();
    let service = {
        let seen = seen.clone();
        service_fn(move |request: Request| handle(request, seen.clone()))
    };
    let server = Server::bind("127.0.0.1:0", ServerConfig::default()).await.unwrap();
    let address = Address::from(server.local_addr().unwrap());
    let serving = tokio::spawn(server.serve(service).into_future());
    let connection = Connection::connect(&address, &ClientConfig::default()).await.unwrap();
    let mut dropped = Vec::new();
    for i in 0..1000u64 {
        let connection = connection.clone();
        dropped.push(tokio::spawn(async move {
            let slow = call(&connection, request("sleep", "20000"));
            let _ = tokio::time::timeout(Duration::from_micros(fastrand(i) % 20_000), slow).await;
            let body = Bytes::from(i.to_string());
            let echo = call(&connection, Request::new("echo", body.clone())).await.unwrap();
            assert_eq!(echo.into_body(), body, "an answer for another call");
        }));
    }
    for task in dropped {
        task.await.unwrap();
    }
    let since = tokio::time::Instant::now();
    while seen.running() > 0 && since.elapsed() < Duration::from_millis(50) {
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.running(), 0, "handlers stop within 50 ms");
    assert_eq!(connection.outstanding(), 0);
    serving.abort();
}

/// A small generator of numbers: the moments need not be good, only different.
fn fastrand(seed: u64) -> u64 {
    let x = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ x >> 29
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_loses_no_accepted_call() {
    let seen = Seen::default();
    let service = {
        let seen = seen.clone();
        service_fn(move |request: Request| handle(request, seen.clone()))
    };
    let server = Server::bind("127.0.0.1:0", ServerConfig::default()).await.unwrap();
    let address = Address::from(server.local_addr().unwrap());
    let (drain, drained) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(
        server
            .serve(service)
            .with_graceful_shutdown(async {
                let _ = drained.await;
            })
            .into_future(),
    );
    let connection = Connection::connect(&address, &ClientConfig::default()).await.unwrap();
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let connection = connection.clone();
            tokio::spawn(async move {
                let mut answered = 0u32;
                loop {
                    match call(&connection, request("sleep", "3")).await {
                        Ok(_) => answered += 1,
                        Err(error) => {
                            // Not one call whose fate is unknown.
                            assert_eq!(error.processed(), towpath_core::Processed::No, "{error}");
                            return answered;
                        }
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(60)).await;
    drain.send(()).unwrap();
    let mut answered = 0;
    for caller in callers {
        answered += caller.await.unwrap();
    }
    serving.await.unwrap().unwrap();
    assert!(answered > 64, "{answered}");
    assert_eq!(seen.begun() as u32, answered, "what was begun was answered");
    let refused = Connection::connect(&address, &ClientConfig::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectFailed);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_waits_inside_the_call() {
    // One call at a time, by a permit that is taken in `poll_ready`.
    let limited = tower::ServiceBuilder::new().layer(tower::limit::ConcurrencyLimitLayer::new(1)).service_fn(
        |request: Request| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, BoxError>(Response::new(request.into_body()))
        },
    );
    let (near, far) = tokio::io::duplex(PIPE);
    let drain = Drain::new();
    tokio::spawn(ServerConnection::new(far, limited, &ServerConfig::default(), drain.watch()));
    let (connection, driver) = Connection::new(near, "test", &ClientConfig::default()).unwrap();
    tokio::spawn(driver);
    let start = tokio::time::Instant::now();
    let calls: Vec<_> = (0..5).map(|_| tokio::spawn(call(&connection, request("m", "x")))).collect();
    // The second is given up while it waits for its turn; the turn goes on to the third.
    tokio::time::sleep(Duration::from_millis(1)).await;
    calls[1].abort();
    connection.ping().await.unwrap();
    for (i, call) in calls.into_iter().enumerate() {
        if i != 1 {
            call.await.unwrap().unwrap();
        }
    }
    assert!(start.elapsed() < Duration::from_millis(60), "{:?}", start.elapsed());
}

/// A stream whose writes and reads are cut into pieces.
#[tokio::test(start_paused = true)]
async fn frames_may_be_cut_anywhere() {
    let (near, middle_near) = tokio::io::duplex(7);
    let (middle_far, far) = tokio::io::duplex(11);
    tokio::spawn(async move {
        let (mut a, mut b) = (middle_near, middle_far);
        let _ = tokio::io::copy_bidirectional_with_sizes(&mut a, &mut b, 3, 5).await;
    });
    let drain = Drain::new();
    let seen = Seen::default();
    let service = service_fn(move |request: Request| handle(request, seen.clone()));
    tokio::spawn(ServerConnection::new(far, service, &ServerConfig::default(), drain.watch()));
    let (connection, driver) = Connection::new(near, "test", &ClientConfig::default()).unwrap();
    tokio::spawn(driver);
    for size in [0, 1, 17, 600, 9000] {
        let body = Bytes::from(vec![size as u8; size]);
        let echo = call(&connection, Request::new("echo", body.clone())).await.unwrap();
        assert!(echo.into_body() == body, "{size}");
    }
}

struct Silent;

impl Future for Silent {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_wakes_ends_with_its_deadline() {
    let (near, far) = tokio::io::duplex(PIPE);
    let drain = Drain::new();
    let service = service_fn(|_: Request| async {
        Silent.await;
        Ok::<_, BoxError>(Response::new(Bytes::new()))
    });
    let mut r = request("m", "");
    r.context_mut().set_deadline(Some(tokio::time::Instant::now() + Duration::from_secs(3)));
    tokio::spawn(ServerConnection::new(far, service, &ServerConfig::default(), drain.watch()));
    let (connection, driver) = Connection::new(near, "test", &ClientConfig::default()).unwrap();
    tokio::spawn(driver);
    let error = call(&connection, r).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Bytes at random, and frames with bytes at random inside, never panic, hang, or stop the next
    /// connection.
    #[test]
    fn bytes_at_random(
        parts in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..60)).prop_map(|(kind, p)| frame(kind % 12, &p)),
                (1u64..9, proptest::collection::vec(any::<u8>(), 0..30)).prop_map(|(id, tail)| {
                    let mut payload = id.to_be_bytes().to_vec();
                    payload.extend(tail);
                    frame(1, &payload)
                }),
            ],
            0..12,
        ),
        to_server: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let bytes: Vec<u8> = parts.concat();
            if to_server {
                let (mut peer, _drain, seen, serving) = server(&ServerConfig::default());
                let _ = peer.io.write_all(&bytes).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                drop(peer);
                tokio::time::timeout(Duration::from_secs(10), serving).await.expect("it ends").expect("no panic");
                until("nothing runs", || seen.running() == 0).await;
            } else {
                let (connection, driving, mut peer) = client(&ClientConfig::default());
                let calling = tokio::spawn(call(&connection, request("m", "")));
                let _ = peer.io.write_all(&bytes).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                drop(peer);
                let driven = tokio::time::timeout(Duration::from_secs(10), driving).await.expect("it ends");
                let _ = driven.expect("no panic");
                let _ = tokio::time::timeout(Duration::from_secs(1), calling).await.expect("answered").expect("no panic");
                assert_eq!(connection.outstanding(), 0);
            }
        });
    }
}
