//! The caller's side when the socket is full, the peer is slow or strange, and handles go away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::*;
use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, sleep, timeout},
};
use tower::{Service, ServiceExt};
use towpath_codec::kind;
use towpath_core::{ErrorKind, Fault, Mode, Processed, Request, Response};
use towpath_transport::{Address, ClientConfig, Connection, Outcome, ServerConfig};

const HOUR: Duration = Duration::from_secs(3600);

fn call(connection: &Connection, request: Request) -> towpath_transport::ResponseFuture {
    connection.clone().call(request)
}

fn timed(method: &'static str, left: Duration) -> Request {
    let mut request = Request::new(method, Bytes::new());
    request.context_mut().set_deadline(Some(Instant::now() + left));
    request
}

fn asynchronous(method: &'static str) -> Request {
    let mut request = Request::new(method, Bytes::new());
    request.set_mode(Mode::Async);
    request
}

/// Lets the driver take in what was just sent to it.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_while_the_socket_is_full() {
    for keep_alive in [ClientConfig::default().keep_alive, None] {
        let config = ClientConfig { keep_alive, ..Default::default() };
        // The peer reads nothing.
        let (connection, driving, _peer) = client_over(1024, &config);
        let _stuck = tokio::spawn(call(&connection, Request::new("big", Bytes::from(vec![0; 100_000]))));
        settle().await;
        let start = Instant::now();
        let late = timeout(HOUR, call(&connection, timed("x", Duration::from_millis(100)))).await;
        let error = late.expect("a deadline of 100 ms, and after an hour nothing").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        assert!((100..105).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
        assert!(!driving.is_finished());
    }
}

#[tokio::test(start_paused = true)]
async fn an_earlier_deadline_in_line_holds_while_the_socket_is_full() {
    let config = ClientConfig { keep_alive: None, max_outstanding: 1, ..Default::default() };
    let (connection, _driving, _peer) = client_over(1024, &config);
    let mut big = Request::new("big", Bytes::from(vec![0; 100_000]));
    big.context_mut().set_deadline(Some(Instant::now() + HOUR));
    let _stuck = tokio::spawn(call(&connection, big));
    settle().await;
    let start = Instant::now();
    let error = call(&connection, timed("x", Duration::from_millis(100))).await.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::DeadlineExceeded, Processed::No));
    assert!((100..105).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn pings_without_end_are_not_answered_without_end() {
    let (pipe, max_buffered, pings) = (4096, 64 << 10, 20_000);
    let config = ClientConfig { max_buffered, keep_alive: None, ..Default::default() };
    let (connection, driving, mut peer) = client_over(pipe, &config);
    // The peer asks, and does not read what it is told.
    for _ in 0..pings {
        peer.short(kind::PING, 7).await;
    }
    settle().await;
    let mut pongs = 0;
    while let Ok(frame) = timeout(Duration::from_secs(1), peer.next()).await {
        assert_eq!(frame.unwrap().0, kind::PONG);
        pongs += 1;
    }
    assert!((1..=(pipe + max_buffered) / 16 + 1).contains(&pongs), "{pongs} answers were kept");
    // It lives, and answers again.
    peer.short(kind::PING, 8).await;
    assert_eq!(peer.expect_id(kind::PONG).await, 8);
    assert!(!driving.is_finished() && !connection.is_closed());
}

#[tokio::test(start_paused = true)]
async fn times_that_no_clock_can_hold_are_refused() {
    let fine = ClientConfig::default;
    for (field, config) in [
        ("connect_timeout", ClientConfig { connect_timeout: Duration::MAX, ..fine() }),
        ("keep_alive", ClientConfig { keep_alive: Some(Duration::MAX), ..fine() }),
        ("keep_alive_timeout", ClientConfig { keep_alive_timeout: Duration::MAX, ..fine() }),
    ] {
        let error = config.validate().unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
        assert_eq!(Connection::new(tokio::io::duplex(64).0, "test", &config).unwrap_err(), error);
        let address: Address = "mcp://127.0.0.1:1".parse().unwrap();
        let error = Connection::connect(&address, &config).await.unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_made_before_the_last_handle_went_is_sent() {
    let (connection, _drain, seen) = pair();
    let calling = call(&connection, request("echo", "x"));
    drop(connection);
    settle().await;
    assert_eq!(calling.await.unwrap().into_body(), "x");
    assert_eq!(seen.begun(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_oneshot_call_with_the_last_handle_is_answered() {
    for round in 0..500 {
        let (connection, _drain, _) = pair();
        let answer = tokio::spawn(connection.oneshot(request("echo", "x"))).await.unwrap();
        assert!(answer.is_ok(), "round {round}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_upload_is_no_silence() {
    let (connection, driving, mut peer) = client_over(64 << 10, &ClientConfig::default());
    let size = 15 << 20;
    let uploading = tokio::spawn(call(&connection, Request::new("up", Bytes::from(vec![0; size]))));
    // It takes half a MiB each second, which is twice as long as silence may last, and says nothing.
    let mut block = vec![0; 32 << 10];
    let (mut taken, start) = (0, Instant::now());
    while taken < size {
        sleep(Duration::from_micros(62_500)).await;
        match peer.io.read(&mut block).await.unwrap() {
            0 => panic!("given up after {taken} bytes and {:?}", start.elapsed()),
            n => taken += n,
        }
    }
    assert!(start.elapsed() >= Duration::from_secs(30));
    assert!(!driving.is_finished() && !uploading.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_in_an_upload_is_given_up() {
    let (connection, _driving, mut peer) = client_over(64 << 10, &ClientConfig::default());
    let uploading = tokio::spawn(call(&connection, Request::new("up", Bytes::from(vec![0; 1 << 20]))));
    let mut block = vec![0; 32 << 10];
    for _ in 0..5 {
        sleep(Duration::from_secs(1)).await;
        assert!(peer.io.read(&mut block).await.unwrap() > 0);
    }
    let start = Instant::now();
    let error = timeout(HOUR, uploading).await.expect("in time").unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    assert!((14..=16).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_a_call_in_line_means_nothing() {
    let config = ClientConfig { max_outstanding: 1, keep_alive: None, ..Default::default() };
    let (connection, _driving, mut peer) = client(&config);
    let first = tokio::spawn(call(&connection, request("first", "")));
    let (id, _, _) = peer.expect_request().await;
    let second = tokio::spawn(call(&connection, request("second", "")));
    settle().await;
    // Its place in line, as a peer could guess it: the next number, the next slot.
    peer.respond(((id >> 20) + 1) << 20 | 1, "forged").await;
    settle().await;
    assert!(!second.is_finished());
    peer.respond(id, "one").await;
    assert_eq!(first.await.unwrap().unwrap().into_body(), "one");
    let (id, _, _) = timeout(HOUR, peer.expect_request()).await.expect("its turn comes");
    peer.respond(id, "two").await;
    let second = timeout(HOUR, second).await.expect("answered");
    assert_eq!(second.unwrap().unwrap().into_body(), "two");
}

#[tokio::test(start_paused = true)]
async fn a_call_in_line_that_got_a_forged_answer_hears_of_the_end() {
    let config = ClientConfig { max_outstanding: 1, keep_alive: None, ..Default::default() };
    let (connection, _driving, mut peer) = client(&config);
    let _first = tokio::spawn(call(&connection, request("first", "")));
    let (id, _, _) = peer.expect_request().await;
    let second = tokio::spawn(call(&connection, request("second", "")));
    settle().await;
    peer.respond(((id >> 20) + 1) << 20 | 1, "forged").await;
    settle().await;
    drop(peer);
    let error = timeout(HOUR, second).await.expect("told of the end").unwrap().unwrap_err();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::ConnectionLost, Processed::No));
}

#[tokio::test(start_paused = true)]
async fn an_ack_or_a_push_for_a_plain_call_means_nothing() {
    let (connection, _driving, mut peer) = client(&ClientConfig::default());
    let calling = tokio::spawn(call(&connection, request("a", "")));
    let (id, _, _) = peer.expect_request().await;
    peer.short(kind::ACK, id).await;
    peer.answer(kind::PUSH, id, &Response::new(Bytes::from_static(b"pushed"))).await;
    settle().await;
    assert!(!calling.is_finished(), "neither is an answer");
    peer.respond(id, "answered").await;
    assert_eq!(calling.await.unwrap().unwrap().into_body(), "answered");

    // And the end of the connection after an ACK is the end, not an empty answer.
    let calling = tokio::spawn(call(&connection, request("b", "")));
    let (id, _, _) = peer.expect_request().await;
    peer.short(kind::ACK, id).await;
    settle().await;
    drop(peer);
    assert_eq!(calling.await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionLost);
}

#[tokio::test(start_paused = true)]
async fn a_response_without_ack_is_the_outcome_of_an_asynchronous_call_or_its_refusal() {
    let (connection, _driving, mut peer) = client(&ClientConfig::default());
    let calling = tokio::spawn(call(&connection, asynchronous("done")));
    let (id, _, _) = peer.expect_request().await;
    peer.respond(id, "done").await;
    let accepted = calling.await.unwrap().unwrap();
    let outcome = Outcome::take(&accepted).expect("accepted").await.unwrap();
    assert_eq!(outcome.into_body(), "done");

    let calling = tokio::spawn(call(&connection, asynchronous("refused")));
    let (id, _, sent) = peer.expect_request().await;
    let fault = Fault::new(ErrorKind::Overloaded, "not now").into_response(sent.codec());
    peer.answer(kind::RESPONSE, id, &fault).await;
    assert_eq!(calling.await.unwrap().unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!(connection.outstanding(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_is_not_ready() {
    let (mut connection, _driving, mut peer) = client(&ClientConfig::default());
    let calling = tokio::spawn(call(&connection, request("a", "")));
    let (id, _, _) = peer.expect_request().await;
    connection.close();
    let ready = connection.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Err(_))), "{ready:?}");
    // What was made before is still answered.
    peer.respond(id, "").await;
    calling.await.unwrap().unwrap();
}

struct Woken;

impl Wake for Woken {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn who_no_longer_watches_leaves_nothing_behind() {
    let (connection, _driving, _peer) = client(&ClientConfig::default());
    let mut wakers = Vec::new();
    for _ in 0..100 {
        let woken = Arc::new(Woken);
        wakers.push(Arc::downgrade(&woken));
        let waker = Waker::from(woken);
        let mut cx = Context::from_waker(&waker);
        assert!(pin!(connection.closed()).poll(&mut cx).is_pending());
        assert!(pin!(connection.ping()).poll(&mut cx).is_pending());
    }
    let kept = wakers.iter().filter(|waker| waker.strong_count() > 0).count();
    assert_eq!(kept, 0, "wakers of futures that were dropped");
}

#[tokio::test(start_paused = true)]
async fn many_deadlines_all_come_and_none_early() {
    let (connection, _driving, mut peer) = client(&ClientConfig::default());
    let mut sink = tokio::io::sink();
    tokio::spawn(async move { tokio::io::copy(&mut peer.io, &mut sink).await });
    let start = Instant::now();
    let calls: Vec<_> = (0..3000u64)
        .map(|i| {
            // In no order, half a millisecond apart.
            let deadline = start + Duration::from_millis(100) + Duration::from_micros(i * 1009 % 3000 * 500);
            let mut request = request("x", "");
            request.context_mut().set_deadline(Some(deadline));
            let calling = call(&connection, request);
            tokio::spawn(async move {
                let error = calling.await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
                (deadline, Instant::now())
            })
        })
        .collect();
    for calling in calls {
        let (deadline, ended) = calling.await.unwrap();
        assert!(ended >= deadline, "{:?} early", deadline - ended);
        assert!(ended < deadline + Duration::from_millis(5), "{:?} late", ended - deadline);
    }
    assert_eq!(connection.outstanding(), 0);
}

/// Numbers that need not be good, only different.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// One call of any mode, with or without a deadline, that may be given up at any time.
async fn any_call(connection: &Connection, name: String, dice: &mut Dice) {
    let (method, body) = match dice.roll(3) {
        0 => ("sleep", dice.roll(3).to_string()),
        _ => ("echo", format!("{name} {}", "x".repeat(dice.roll(300) as usize))),
    };
    let mut request = Request::new(method, Bytes::from(body.clone()));
    match dice.roll(8) {
        0 => request.set_mode(Mode::OneWay),
        1 => request.set_mode(Mode::Async),
        _ => {}
    }
    if dice.roll(4) == 0 {
        let left = Duration::from_micros(dice.roll(5000));
        request.context_mut().set_deadline(Some(Instant::now() + left));
    }
    let answered = request.mode() != Mode::OneWay;
    let calling = call(connection, request);
    let whole = async {
        let response = calling.await?;
        match Outcome::take(&response) {
            Some(outcome) => outcome.await,
            None => Ok(response),
        }
    };
    if dice.roll(4) == 0 {
        let _ = timeout(Duration::from_micros(dice.roll(2000)), whole).await;
        return;
    }
    match whole.await {
        Ok(response) if answered => assert_eq!(response.body(), &body, "an answer for another call"),
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_hangs_where_everything_is_narrow() {
    let client_config = ClientConfig { max_outstanding: 5, max_buffered: 200, ..Default::default() };
    let server_config = ServerConfig { max_held: 500, max_backlog: 500, ..Default::default() };
    let (connection, _drain, seen) = pair_over(300, &client_config, &server_config);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..20 {
        let connection = connection.clone();
        callers.spawn(async move {
            let mut dice = Dice(caller * 7919 + 1);
            for i in 0..60 {
                any_call(&connection, format!("{caller}.{i}"), &mut dice).await;
            }
        });
    }
    let all = async {
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
    };
    timeout(Duration::from_secs(30), all).await.expect("no call hangs");
    let unfinished = async {
        while connection.outstanding() + seen.running() > 0 {
            settle().await;
        }
    };
    timeout(Duration::from_secs(5), unfinished).await.expect("nothing is left");
}
