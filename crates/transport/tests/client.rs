//! The caller's side of the protocol, frame by frame.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::*;
use std::{pin::pin, task::Context, task::Waker, time::Duration};
use tokio::time::Instant;
use tower::{Service, ServiceExt};
use towpath_codec::{GoAway, GoAwayReason, Settings, kind};
use towpath_core::{CodecId, Error, ErrorKind, Fault, Mode, Processed, Request, Response};
use towpath_transport::{ClientConfig, Connection, Outcome};

fn call(connection: &Connection, request: Request) -> towpath_transport::ResponseFuture {
    connection.clone().call(request)
}

async fn failed(call: impl Future<Output = Result<Response, Error>>, kind: ErrorKind) -> Error {
    let error = call.await.expect_err("it fails");
    assert_eq!(error.kind(), kind, "{error}");
    error
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_callers_in_any_order() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let calls: Vec<_> =
        ["a", "b", "c"].map(|body| tokio::spawn(call(&connection, request("m", body)))).into();
    let mut requests = Vec::new();
    for _ in 0..3 {
        let (id, _, request) = peer.expect_request().await;
        requests.push((id, request.into_body()));
    }
    assert!(requests.windows(2).all(|pair| pair[0].0 < pair[1].0), "ids grow");
    for (id, body) in requests.iter().rev() {
        peer.answer(kind::RESPONSE, *id, &Response::new(body.clone())).await;
    }
    for (call, body) in calls.into_iter().zip(["a", "b", "c"]) {
        assert_eq!(&call.await.unwrap().unwrap().into_body()[..], body.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_first_poll() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    drop(call(&connection, request("never", "")));
    let calling = tokio::spawn(call(&connection, request("first", "")));
    let (id, _, request) = peer.expect_request().await;
    assert_eq!(request.method(), &"first");
    peer.respond(id, "").await;
    calling.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_cancelled_and_its_late_answer_reaches_nobody() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let first = tokio::spawn(call(&connection, request("first", "")));
    let (old, _, _) = peer.expect_request().await;
    first.abort();
    assert_eq!(peer.expect_id(kind::CANCEL).await, old);
    assert_eq!(connection.outstanding(), 0);
    // It takes the slot of the first one.
    let second = tokio::spawn(call(&connection, request("second", "")));
    let (new, _, _) = peer.expect_request().await;
    peer.respond(old, "for the first").await;
    peer.short(kind::ACK, old).await;
    peer.respond(new, "for the second").await;
    assert_eq!(&second.await.unwrap().unwrap().into_body()[..], b"for the second");
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_stack_are_errors_and_an_applications_are_answers() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let calls = [(); 2].map(|()| tokio::spawn(call(&connection, request("m", ""))));
    let own = towpath_core::ErrorCode::from_static("MCP-W-103");
    let theirs = towpath_core::ErrorCode::from_static("ORD-E-102");
    for code in [own, theirs] {
        let (id, _, _) = peer.expect_request().await;
        let fault = Fault::new(code, "MCP- in the text").with_trace_id("abc");
        peer.answer(kind::RESPONSE, id, &fault.into_response(CodecId::JSON)).await;
    }
    let [first, second] = calls;
    let error = failed(async { first.await.unwrap() }, ErrorKind::Overloaded).await;
    assert_eq!(
        (error.processed(), error.endpoint(), error.trace_id()),
        (Processed::No, Some("test"), Some("abc"))
    );
    let response = second.await.unwrap().unwrap();
    assert_eq!(Fault::from_response(&response).unwrap().code(), theirs);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_kept_without_the_peers_help() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let start = Instant::now();
    let mut r = request("m", "");
    r.context_mut().set_deadline(Some(start + Duration::from_micros(1_500_500)));
    let calling = tokio::spawn(call(&connection, r));
    let (id, timeout_ms, _) = peer.expect_request().await;
    assert_eq!(timeout_ms, 1501, "rounded up");
    // It drips in, a byte a second, and never ends.
    let mut answer = Vec::new();
    towpath_codec::put_response_head(
        &mut answer,
        kind::RESPONSE,
        id,
        &Response::new(Bytes::from_static(b"slow")),
    )
    .unwrap();
    peer.send(&answer[..9]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    peer.send(&answer[9..10]).await;
    let error = failed(async { calling.await.unwrap() }, ErrorKind::DeadlineExceeded).await;
    assert_eq!(error.processed(), Processed::Unknown);
    assert!((1500..=1510).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(peer.expect_id(kind::CANCEL).await, id);
    assert_eq!(connection.outstanding(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_has_passed_is_not_sent() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let mut r = request("late", "");
    r.context_mut().set_deadline(Some(Instant::now()));
    let error = failed(call(&connection, r), ErrorKind::DeadlineExceeded).await;
    assert_eq!(error.processed(), Processed::No);
    let ping = tokio::spawn(connection.ping());
    peer.expect(kind::PING).await;
    ping.abort();
}

#[tokio::test(start_paused = true)]
async fn above_the_limit_calls_wait_in_line() {
    let config = ClientConfig { max_outstanding: 2, ..Default::default() };
    let (connection, _, mut peer) = client(&config);
    let spawn = |body| tokio::spawn(call(&connection, request("m", body)));
    let (_a, b) = (spawn("a"), spawn("b"));
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(peer.expect_request().await.0);
    }
    let mut late = request("m", "late");
    late.context_mut().set_deadline(Some(Instant::now() + Duration::from_millis(100)));
    let late = tokio::spawn(call(&connection, late));
    tokio::task::yield_now().await;
    let (c, d) = (spawn("c"), spawn("d"));
    // The first in line gives up by its deadline: it was never sent.
    let error = failed(async { late.await.unwrap() }, ErrorKind::DeadlineExceeded).await;
    assert_eq!(error.processed(), Processed::No);
    assert_eq!(connection.outstanding(), 2);
    // The next one is dropped while its turn has come: it goes on to the one behind it.
    peer.respond(ids[0], "").await;
    c.abort();
    let (third, _, r) = peer.expect_request().await;
    let body = r.into_body();
    if body == "c" {
        assert_eq!(peer.expect_id(kind::CANCEL).await, third);
        assert_eq!(&peer.expect_request().await.2.into_body()[..], b"d");
    } else {
        assert_eq!(&body[..], b"d");
    }
    assert!(third > ids[1]);
    b.abort();
    d.abort();
}

#[tokio::test(start_paused = true)]
async fn a_peers_lower_limit_holds() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let mut settings = Vec::new();
    let one = Settings { max_outstanding: Some(1), max_payload: Some(1024), ..Settings::default() };
    towpath_codec::put_settings(&mut settings, &one);
    peer.send(settings).await;
    until("it is read", || {
        let large = Request::new("m", Bytes::from(vec![0; 1024]));
        let mut call = pin!(call(&connection, large));
        call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    })
    .await;
    // What was tried before it was read is there, and cancelled.
    let ping = tokio::spawn(connection.ping());
    loop {
        let (kind, payload) = peer.next().await.unwrap();
        if kind == kind::PING {
            peer.frame(kind::PONG, payload).await;
            break;
        }
    }
    ping.await.unwrap().unwrap();
    let error =
        failed(call(&connection, Request::new("m", Bytes::from(vec![0; 1024]))), ErrorKind::TooLarge).await;
    assert_eq!(error.processed(), Processed::No);
    let calls = [(); 2].map(|()| tokio::spawn(call(&connection, request("m", ""))));
    let (first, _, _) = peer.expect_request().await;
    assert_eq!(connection.outstanding(), 1);
    peer.respond(first, "").await;
    let (second, _, _) = peer.expect_request().await;
    peer.respond(second, "").await;
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_pipe_bounds_what_is_buffered() {
    let config = ClientConfig { max_buffered: 100 << 10, ..Default::default() };
    let (connection, _, mut peer) = client(&config);
    let body = Bytes::from(vec![9u8; 64 << 10]);
    let calls: Vec<_> =
        (0..100).map(|_| tokio::spawn(call(&connection, Request::new("m", body.clone())))).collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    // 1 MiB in the pipe, and two times what may be buffered: being written, and waiting.
    assert!(connection.outstanding() < 30, "{}", connection.outstanding());
    for _ in 0..100 {
        let (id, _, _) = peer.expect_request().await;
        peer.respond(id, "").await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_says_what_is_known_of_each_call() {
    let config = ClientConfig { max_outstanding: 1, ..Default::default() };
    let (connection, driving, mut peer) = client(&config);
    let sent = tokio::spawn(call(&connection, request("sent", "")));
    peer.expect_request().await;
    let queued = tokio::spawn(call(&connection, request("queued", "")));
    tokio::time::sleep(Duration::from_millis(1)).await;
    drop(peer);
    let error = failed(async { sent.await.unwrap() }, ErrorKind::ConnectionLost).await;
    assert_eq!(error.processed(), Processed::Unknown);
    let error = failed(async { queued.await.unwrap() }, ErrorKind::ConnectionLost).await;
    assert_eq!(error.processed(), Processed::No);
    assert!(driving.await.unwrap().is_err());
    let error = failed(call(&connection, request("after", "")), ErrorKind::ConnectionLost).await;
    assert_eq!(error.processed(), Processed::No);
    assert!(connection.clone().ready().await.is_err());
    connection.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_inside_a_frame_is_no_answer() {
    let (connection, driving, mut peer) = client(&ClientConfig::default());
    let calling = tokio::spawn(call(&connection, request("m", "")));
    let (id, _, _) = peer.expect_request().await;
    let mut answer = Vec::new();
    let response = Response::new(Bytes::from_static(b"whole"));
    towpath_codec::put_response_head(&mut answer, kind::RESPONSE, id, &response).unwrap();
    answer.extend_from_slice(b"who");
    peer.send(answer).await;
    drop(peer);
    let error = failed(async { calling.await.unwrap() }, ErrorKind::ConnectionLost).await;
    assert!(error.to_string().contains("in the middle of a frame"), "{error}");
    driving.await.unwrap().unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_goaway_sends_away_what_was_not_begun() {
    let (connection, driving, mut peer) = client(&ClientConfig::default());
    let calls = [(); 3].map(|()| tokio::spawn(call(&connection, request("m", ""))));
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(peer.expect_request().await.0);
    }
    let goaway = GoAway { reason: GoAwayReason::Draining, last_id: ids[1], text: "deploy".to_owned() };
    peer.goaway(&goaway).await;
    let [a, b, c] = calls;
    let error = failed(async { c.await.unwrap() }, ErrorKind::Draining).await;
    assert_eq!(error.processed(), Processed::No);
    let error = failed(call(&connection, request("m", "")), ErrorKind::Draining).await;
    assert!(error.to_string().contains("deploy") && error.processed() == Processed::No, "{error}");
    assert!(connection.is_closed());
    peer.respond(ids[0], "").await;
    a.await.unwrap().unwrap();
    peer.respond(ids[1], "").await;
    b.await.unwrap().unwrap();
    // All is answered: it says goodbye and ends, though a handle is still there.
    assert_eq!(peer.expect_goaway().await.last_id, 0);
    assert!(peer.next().await.is_none());
    drop(peer);
    driving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_the_protocol_is_told_and_left() {
    let wrong: Vec<(Vec<u8>, GoAwayReason)> = vec![
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), GoAwayReason::BadMagic),
        (b"MC\x07\x02\0\0\0\0".to_vec(), GoAwayReason::BadVersion),
        (b"MC\x01\x02\xff\xff\xff\xff".to_vec(), GoAwayReason::TooLarge),
        (b"MC\x01\x0b\0\0\0\x08".to_vec(), GoAwayReason::UnknownType),
        (request_frame(1, 0, &request("m", "")), GoAwayReason::Malformed),
        (frame(kind::CANCEL, &[0, 0, 0, 0, 0, 0, 0, 1]), GoAwayReason::Malformed),
        (frame(kind::RESPONSE, &[0, 0, 0]), GoAwayReason::Malformed),
        (frame(kind::ACK, &[0; 8]), GoAwayReason::Malformed),
    ];
    for (bytes, reason) in wrong {
        let (connection, driving, mut peer) = client(&ClientConfig::default());
        let calling = tokio::spawn(call(&connection, request("m", "")));
        peer.expect_request().await;
        peer.send(bytes).await;
        assert_eq!(peer.expect_goaway().await.reason, reason);
        assert!(peer.next().await.is_none());
        drop(peer);
        let foreign = matches!(reason, GoAwayReason::BadMagic | GoAwayReason::BadVersion);
        let kind = if foreign { ErrorKind::Version } else { ErrorKind::ConnectionLost };
        let error = failed(async { calling.await.unwrap() }, kind).await;
        assert_eq!(error.processed(), Processed::Unknown);
        driving.await.unwrap().unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_answer_fails_its_call_only() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let calls = [(); 2].map(|()| tokio::spawn(call(&connection, request("m", ""))));
    let (first, _, _) = peer.expect_request().await;
    let (second, _, _) = peer.expect_request().await;
    let mut payload = first.to_be_bytes().to_vec();
    payload.extend([0, 0, 0, 0, 0, 0, 0, 99]);
    peer.frame(kind::RESPONSE, payload).await;
    peer.respond(second, "fine").await;
    let [a, b] = calls;
    failed(async { a.await.unwrap() }, ErrorKind::Malformed).await;
    b.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_for_life_and_given_up() {
    let (connection, driving, mut peer) = client(&ClientConfig::default());
    let calling = tokio::spawn(call(&connection, request("m", "")));
    let start = Instant::now();
    peer.expect_request().await;
    let id = peer.expect_id(kind::PING).await;
    assert_eq!(start.elapsed().as_secs(), 10);
    peer.short(kind::PONG, id).await;
    peer.expect(kind::PING).await;
    assert_eq!(start.elapsed().as_secs(), 20, "a PONG is a sign of life");
    let error = failed(async { calling.await.unwrap() }, ErrorKind::ConnectionLost).await;
    assert!(error.to_string().contains("silent"), "{error}");
    assert_eq!(start.elapsed().as_secs(), 25);
    driving.await.unwrap().unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn pings_measure_and_pings_are_answered() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let ping = tokio::spawn(connection.ping());
    let id = peer.expect_id(kind::PING).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    peer.short(kind::PONG, id + 1).await;
    peer.short(kind::PONG, id).await;
    assert_eq!(ping.await.unwrap().unwrap().as_millis(), 30);
    peer.short(kind::PING, 4711).await;
    assert_eq!(peer.expect_id(kind::PONG).await, 4711);
}

#[tokio::test(start_paused = true)]
async fn a_one_way_call_resolves_when_it_is_written() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let mut r = request("note", "x");
    r.set_mode(Mode::OneWay);
    call(&connection, r).await.unwrap();
    assert_eq!(connection.outstanding(), 0);
    let (_, _, r) = peer.expect_request().await;
    assert_eq!(r.mode(), Mode::OneWay);
}

#[tokio::test(start_paused = true)]
async fn an_asynchronous_call_is_accepted_first_and_done_later() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let asynchronous = |body| {
        let mut r = request("job", body);
        r.set_mode(Mode::Async);
        tokio::spawn(call(&connection, r))
    };
    let pushed = |body: &'static str| Response::new(Bytes::from_static(body.as_bytes()));

    let accepted = asynchronous("1");
    let (id, _, _) = peer.expect_request().await;
    peer.short(kind::ACK, id).await;
    let response = accepted.await.unwrap().unwrap();
    let outcome = Outcome::take(&response).expect("it was accepted");
    assert!(Outcome::take(&response.clone()).is_none(), "only once");
    peer.answer(kind::PUSH, id, &pushed("done")).await;
    assert_eq!(&outcome.await.unwrap().into_body()[..], b"done");

    // ACK and PUSH in one go.
    let accepted = asynchronous("2");
    let (id, _, _) = peer.expect_request().await;
    peer.short(kind::ACK, id).await;
    peer.answer(kind::PUSH, id, &pushed("at once")).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let outcome = Outcome::take(&accepted.await.unwrap().unwrap()).unwrap();
    let (tell, told) = tokio::sync::oneshot::channel();
    outcome.on_complete(move |result| tell.send(result).unwrap());
    assert_eq!(&told.await.unwrap().unwrap().into_body()[..], b"at once");

    // Refused: no ACK, and no outcome.
    let refused = asynchronous("3");
    let (id, _, _) = peer.expect_request().await;
    let code = towpath_core::ErrorCode::from_static("MCP-E-004");
    peer.answer(kind::RESPONSE, id, &Fault::new(code, "no").into_response(CodecId::JSON)).await;
    failed(async { refused.await.unwrap() }, ErrorKind::UnknownMethod).await;

    // The server's drain has ended it after the ACK: that it was not processed is not said.
    let accepted = asynchronous("drained");
    let (id, _, _) = peer.expect_request().await;
    peer.short(kind::ACK, id).await;
    let outcome = Outcome::take(&accepted.await.unwrap().unwrap()).unwrap();
    let draining = towpath_core::ErrorCode::from_static("MCP-W-108");
    peer.answer(kind::PUSH, id, &Fault::new(draining, "drain").into_response(CodecId::JSON)).await;
    assert_eq!(failed(outcome, ErrorKind::Draining).await.processed(), Processed::Unknown);

    // Given up after the ACK.
    let accepted = asynchronous("4");
    let (id, _, _) = peer.expect_request().await;
    peer.short(kind::ACK, id).await;
    drop(Outcome::take(&accepted.await.unwrap().unwrap()));
    assert_eq!(peer.expect_id(kind::CANCEL).await, id);
    assert_eq!(connection.outstanding(), 0);

    // Lost after the ACK: nobody knows.
    let accepted = asynchronous("5");
    let (id, _, _) = peer.expect_request().await;
    peer.short(kind::ACK, id).await;
    let outcome = Outcome::take(&accepted.await.unwrap().unwrap()).unwrap();
    drop(peer);
    let error = failed(outcome, ErrorKind::ConnectionLost).await;
    assert_eq!(error.processed(), Processed::Unknown);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_nobody_takes_is_given_up() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let mut r = request("job", "");
    r.set_mode(Mode::Async);
    let accepted = tokio::spawn(call(&connection, r));
    let (id, _, _) = peer.expect_request().await;
    peer.short(kind::ACK, id).await;
    drop(accepted.await.unwrap());
    assert_eq!(peer.expect_id(kind::CANCEL).await, id);
}

#[tokio::test(start_paused = true)]
async fn the_connection_ends_with_its_last_handle_and_its_last_call() {
    let (connection, driving, mut peer) = client(&ClientConfig::default());
    let calling = tokio::spawn(call(&connection, request("m", "")));
    let (id, _, _) = peer.expect_request().await;
    drop(connection);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!driving.is_finished(), "a call is outstanding");
    peer.respond(id, "").await;
    calling.await.unwrap().unwrap();
    assert_eq!(peer.expect_goaway().await.reason, GoAwayReason::Draining);
    assert!(peer.next().await.is_none());
    drop(peer);
    driving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_driver_leaves_nobody_waiting() {
    let (connection, driving, mut peer) = client(&ClientConfig::default());
    let calling = tokio::spawn(call(&connection, request("m", "")));
    peer.expect_request().await;
    driving.abort();
    failed(async { calling.await.unwrap() }, ErrorKind::ConnectionLost).await;
    connection.closed().await;
}

#[tokio::test(start_paused = true)]
async fn settings_are_the_first_frame_also_before_a_pong() {
    let config = ClientConfig { max_payload: 4096, ..Default::default() };
    let (near, far) = tokio::io::duplex(PIPE);
    let mut peer = Peer { io: far };
    peer.short(kind::PING, 7).await;
    let (_connection, driver) = Connection::new(near, "test", &config).unwrap();
    tokio::spawn(driver);
    let settings = towpath_codec::decode_settings(&peer.expect(kind::SETTINGS).await).unwrap();
    assert_eq!(settings.max_payload, Some(4096));
    assert_eq!(peer.expect_id(kind::PONG).await, 7);
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_ends_with_its_last_answer() {
    let config = ClientConfig { keep_alive: None, ..Default::default() };
    let (connection, driver, mut peer) = client(&config);
    let answer = tokio::spawn(call(&connection, request("echo", "x")));
    let (id, ..) = peer.expect_request().await;
    connection.close();
    peer.respond(id, "y").await;
    answer.await.unwrap().unwrap();
    assert_eq!(peer.expect_goaway().await.reason, GoAwayReason::Draining);
    assert_eq!(peer.next().await, None);
    drop(peer);
    driver.await.unwrap().unwrap();
    // Whoever holds the connection has not kept it open.
    assert!(connection.is_closed());
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_has_begun_whatever_a_goaway_says() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let mut asked = request("accept", "x");
    asked.set_mode(Mode::Async);
    let accepted = tokio::spawn(call(&connection, asked));
    let (id, ..) = peer.expect_request().await;
    peer.short(kind::ACK, id).await;
    let outcome = Outcome::take(&accepted.await.unwrap().unwrap()).unwrap();
    peer.goaway(&GoAway { reason: GoAwayReason::Malformed, last_id: 0, text: String::new() }).await;
    assert_eq!(failed(outcome, ErrorKind::Malformed).await.processed(), Processed::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_nobody_takes_goes_to_the_next() {
    let config = ClientConfig { max_outstanding: 1, ..Default::default() };
    let (connection, _, mut peer) = client(&config);
    let first = tokio::spawn(call(&connection, request("echo", "a")));
    let (id, ..) = peer.expect_request().await;
    let mut second = Box::pin(call(&connection, request("echo", "b")));
    assert!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let third = tokio::spawn(call(&connection, request("echo", "c")));
    tokio::task::yield_now().await;
    peer.respond(id, "").await;
    first.await.unwrap().unwrap();
    // It is its turn now, and it has not been looked at since.
    drop(second);
    let (id, _, request) = peer.expect_request().await;
    assert_eq!(request.body(), "c");
    peer.respond(id, "").await;
    third.await.unwrap().unwrap();
}

/// 64 KiB at a time are four at first; whoever is slow to answer is soon given all, and small calls do not wait.
#[tokio::test(start_paused = true)]
async fn large_calls_wait_for_their_window_and_nobody_else_does() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let large = || Request::new("large", Bytes::from(vec![7; 64 * 1024]));
    let calls: Vec<_> = (0..64).map(|_| tokio::spawn(call(&connection, large()))).collect();
    let mut ids = Vec::new();
    let begin = Instant::now();
    for _ in 0..4 {
        ids.push(peer.expect_request().await.0);
    }
    let small = tokio::spawn(call(&connection, request("small", "")));
    let (id, _, request) = peer.expect_request().await;
    assert_eq!(request.method(), &"small", "it overtakes the large ones that wait");
    assert!(begin.elapsed() < Duration::from_millis(5), "{:?}", begin.elapsed());
    peer.respond(id, "").await;
    small.await.unwrap().unwrap();
    // Nothing is answered, so the window opens: 8, 16, 32, 64 of them, 5 ms apart.
    while ids.len() < 64 {
        ids.push(peer.expect_request().await.0);
    }
    assert!(begin.elapsed() < Duration::from_millis(40), "{:?}", begin.elapsed());
    for id in ids {
        peer.respond(id, "done").await;
    }
    for call in calls {
        assert_eq!(&call.await.unwrap().unwrap().into_body()[..], b"done");
    }
    assert_eq!(connection.outstanding(), 0);
}

/// A large call in line that is dropped, or late, gives its place to the next.
#[tokio::test(start_paused = true)]
async fn a_large_call_that_gives_up_in_line_holds_up_nobody() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    let large = |method: &'static str| Request::new(method, Bytes::from(vec![7; 200 * 1024]));
    let first = tokio::spawn(call(&connection, large("first")));
    let (id, _, _) = peer.expect_request().await;
    let dropped = tokio::spawn(call(&connection, large("dropped")));
    let mut late = large("late");
    late.context_mut().set_deadline(Some(Instant::now() + Duration::from_millis(2)));
    let late = tokio::spawn(call(&connection, late));
    let last = tokio::spawn(call(&connection, large("last")));
    tokio::time::sleep(Duration::from_millis(1)).await;
    dropped.abort();
    let error = failed(async { late.await.unwrap() }, ErrorKind::DeadlineExceeded).await;
    assert_eq!(error.processed(), Processed::No);
    peer.respond(id, "").await;
    first.await.unwrap().unwrap();
    let (id, _, request) = peer.expect_request().await;
    assert_eq!(request.method(), &"last");
    peer.respond(id, "").await;
    last.await.unwrap().unwrap();
    assert_eq!(connection.outstanding(), 0);
}
