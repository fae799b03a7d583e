//! The server's side of the protocol, frame by frame.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::*;
use std::time::Duration;
use towpath_codec::{GoAway, GoAwayReason, Settings, kind};
use towpath_core::{CodecId, Fault, Mode, Request, Response};
use towpath_transport::ServerConfig;

fn fault(response: &Response) -> Fault {
    assert!(response.is_fault(), "{response:?}");
    let fault = Fault::from_response(response).unwrap();
    assert!(fault.trace_id().is_some_and(|id| !id.is_empty()), "a fault has a trace id");
    fault
}

async fn expect_fault(peer: &mut Peer, id: u64, code: &str) -> Fault {
    let (got, response) = peer.expect_response().await;
    let fault = fault(&response);
    assert_eq!((got, fault.code().as_str()), (id, code), "{fault}");
    fault
}

/// The GOAWAY of a violation, and the end after it.
async fn expect_end(mut peer: Peer, reason: GoAwayReason) {
    assert_eq!(peer.expect_goaway().await.reason, reason);
    assert!(peer.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn answers_come_in_any_order() {
    let (mut peer, _drain, _, _) = server(&ServerConfig::default());
    peer.request(1, &request("sleep", "20")).await;
    peer.request(2, &request("sleep", "10")).await;
    peer.request(3, &request("echo", "now")).await;
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(peer.expect_response().await.0);
    }
    assert_eq!(order, [3, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_request_one_byte_at_a_time() {
    let (mut peer, _drain, _, _) = server(&ServerConfig::default());
    let bytes = request_frame(1, 0, &request("echo", "slowly"));
    for byte in bytes {
        peer.send([byte]).await;
        tokio::task::yield_now().await;
    }
    let (id, response) = peer.expect_response().await;
    assert_eq!((id, &response.body()[..]), (1, &b"slowly"[..]));
}

#[tokio::test(start_paused = true)]
async fn body_and_codec_of_any_kind_come_back() {
    let (mut peer, _drain, _, _) = server(&ServerConfig::default());
    for (id, size) in [(1, 0usize), (2, 1), (3, 511), (4, 4096), (5, 70_000), (6, 3_000_000)] {
        let mut r = Request::new("echo", Bytes::from(vec![id as u8; size]));
        r.set_codec(CodecId(id as u8 + 15));
        let bytes = request_frame(id, 0, &r);
        let (mut read, mut write) = tokio::io::split(&mut peer.io);
        let send = async { tokio::io::AsyncWriteExt::write_all(&mut write, &bytes).await.unwrap() };
        let receive = async {
            let mut got = vec![0; 8 + 16 + size];
            tokio::io::AsyncReadExt::read_exact(&mut read, &mut got).await.unwrap();
            got
        };
        let ((), got) = tokio::join!(send, receive);
        let (back, response) = towpath_codec::decode_response(Bytes::from(got).slice(8..)).unwrap();
        assert_eq!((back, response.codec()), (id, r.codec()));
        assert!(response.body() == r.body());
    }
}

#[tokio::test(start_paused = true)]
async fn violations_end_the_connection() {
    let big = {
        let mut head = frame(kind::REQUEST, &[]);
        head[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        head
    };
    let cases: Vec<(&str, Vec<u8>, GoAwayReason)> = vec![
        ("bad magic", b"HTTP/1.1 200 OK\r\n".to_vec(), GoAwayReason::BadMagic),
        ("bad magic, only two bytes of it", b"GE".to_vec(), GoAwayReason::BadMagic),
        ("bad version", b"MC\x02\x01\0\0\0\0".to_vec(), GoAwayReason::BadVersion),
        ("4 GiB", big, GoAwayReason::TooLarge),
        ("unknown type", frame(0x42, &[0; 8]), GoAwayReason::UnknownType),
        ("reserved type", frame(0x0a, &[0; 8]), GoAwayReason::UnknownType),
        ("response from a caller", frame(kind::RESPONSE, &[1; 30]), GoAwayReason::Malformed),
        ("ack from a caller", frame(kind::ACK, &1u64.to_be_bytes()), GoAwayReason::Malformed),
        ("push from a caller", frame(kind::PUSH, &[1; 30]), GoAwayReason::Malformed),
        ("no id", frame(kind::REQUEST, &[0; 7]), GoAwayReason::Malformed),
        ("id 0", request_frame(0, 0, &request("echo", "")), GoAwayReason::Malformed),
        ("short ping", frame(kind::PING, &[0; 3]), GoAwayReason::Malformed),
        ("short cancel", frame(kind::CANCEL, &[0; 3]), GoAwayReason::Malformed),
        ("short goaway", frame(kind::GOAWAY, &[0; 9]), GoAwayReason::Malformed),
    ];
    for (name, bytes, reason) in cases {
        let (mut peer, _drain, seen, serving) = server(&ServerConfig::default());
        peer.send(bytes).await;
        let goaway = peer.expect_goaway().await;
        assert_eq!(goaway.reason, reason, "{name}");
        assert!(!goaway.text.is_empty(), "{name}: the reason in words");
        assert!(peer.next().await.is_none(), "{name}: then the end");
        drop(peer);
        serving.await.unwrap();
        assert_eq!(seen.begun(), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_does_not_grow_ends_the_connection() {
    for second in [5, 4, 1] {
        let (mut peer, _drain, _, _) = server(&ServerConfig::default());
        peer.request(5, &request("echo", "a")).await;
        peer.expect_response().await;
        peer.request(second, &request("echo", "b")).await;
        expect_end(peer, GoAwayReason::Malformed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_request_is_answered_and_the_connection_lives() {
    let (mut peer, _drain, seen, _) = server(&ServerConfig::default());
    let mut payload = request_frame(1, 0, &request("echo", "x"))[8..].to_vec();
    payload[13] = 0b11;
    peer.frame(kind::REQUEST, &payload).await;
    assert!(expect_fault(&mut peer, 1, "MCP-E-001").await.not_processed());
    payload[7] = 2;
    payload[13] = 0;
    payload[14..16].copy_from_slice(&999u16.to_be_bytes());
    peer.frame(kind::REQUEST, &payload).await;
    expect_fault(&mut peer, 2, "MCP-E-001").await;
    peer.request(3, &request("echo", "alive")).await;
    assert_eq!(peer.expect_response().await.0, 3);
    assert_eq!(seen.begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn ping_is_answered_with_its_value_and_extensions_are_skipped() {
    let (mut peer, _drain, _, _) = server(&ServerConfig::default());
    peer.frame(0x99, [7; 300]).await;
    peer.frame(kind::SETTINGS, [0, 0, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0, 1]).await;
    peer.frame(kind::PING, [1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    assert_eq!(peer.expect_id(kind::PONG).await, 0x0102_0304_0506_0708);
    peer.short(kind::PONG, 77).await;
    peer.short(kind::CANCEL, 77).await;
    peer.request(1, &request("echo", "")).await;
    peer.expect_response().await;
}

#[tokio::test(start_paused = true)]
async fn cancel_stops_the_handler_and_nothing_is_answered() {
    let (mut peer, _drain, seen, _) = server(&ServerConfig::default());
    peer.request(1, &request("sleep", "60000")).await;
    until("it runs", || seen.running() == 1).await;
    peer.short(kind::CANCEL, 1).await;
    until("it has stopped", || seen.running() == 0).await;
    peer.request(2, &request("echo", "next")).await;
    assert_eq!(peer.expect_response().await.0, 2);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_stops_the_handler() {
    let (mut peer, _drain, seen, _) = server(&ServerConfig::default());
    let start = tokio::time::Instant::now();
    peer.send(request_frame(1, 250, &request("sleep", "60000"))).await;
    let fault = expect_fault(&mut peer, 1, "MCP-W-101").await;
    assert!(!fault.not_processed(), "it may have done something");
    assert!((250..=260).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    until("it has stopped", || seen.running() == 0).await;
}

#[tokio::test]
async fn work_that_is_late_is_not_begun() {
    let (mut peer, _drain, seen, _) = server(&ServerConfig::default());
    // The first call of the batch computes for longer than the second one has.
    let mut batch = request_frame(1, 0, &request("echo", ""));
    batch.extend(request_frame(2, 1, &request("echo", "")));
    let (near, far) = tokio::io::duplex(PIPE);
    drop(std::mem::replace(&mut peer.io, far));
    let slow = tower::service_fn(move |r: Request| {
        let until = tokio::time::Instant::now() + Duration::from_millis(5);
        while tokio::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        handle(r, seen.clone())
    });
    let drain = towpath_transport::Drain::new();
    let config = ServerConfig::default();
    tokio::spawn(towpath_transport::ServerConnection::new(near, slow, &config, drain.watch()));
    peer.send(batch).await;
    assert_eq!(peer.expect_response().await.0, 1);
    let fault = expect_fault(&mut peer, 2, "MCP-W-101").await;
    assert!(fault.not_processed());
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_answer_and_the_connection_serves_on() {
    let (mut peer, _drain, seen, _) = server(&ServerConfig::default());
    for (id, method) in [(1, "panic"), (2, "panic-late"), (3, "fail")] {
        peer.request(id, &request(method, "")).await;
        let fault = expect_fault(&mut peer, id, "MCP-E-009").await;
        assert!(!fault.not_processed());
        assert!(!fault.message().contains("on purpose"), "what a panic says is not for strangers");
    }
    peer.request(4, &request("echo", "alive")).await;
    assert_eq!(peer.expect_response().await.0, 4);
    until("nothing runs", || seen.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_below_says_nothing_about_the_call_above() {
    let (mut peer, _drain, _, _) = server(&ServerConfig::default());
    peer.request(1, &request("below", "")).await;
    let fault = expect_fault(&mut peer, 1, "MCP-E-009").await;
    assert!(!fault.not_processed());
    assert_eq!(fault.cause().unwrap().as_str(), "MCP-E-011");
}

#[tokio::test(start_paused = true)]
async fn a_fault_keeps_the_trace_of_its_call() {
    let (mut peer, _drain, _, _) = server(&ServerConfig::default());
    let mut r = request("panic", "");
    r.metadata_mut().insert("trace-id", "a1b2c3d4").unwrap();
    peer.request(1, &r).await;
    assert_eq!(expect_fault(&mut peer, 1, "MCP-E-009").await.trace_id(), Some("a1b2c3d4"));
    let mut r = request("panic-late", "");
    r.set_codec(CodecId::PROTOBUF);
    r.metadata_mut()
        .insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .unwrap();
    peer.request(2, &r).await;
    let (_, response) = peer.expect_response().await;
    assert_eq!(response.codec(), CodecId::PROTOBUF, "a fault speaks the codec of a Protobuf request");
    assert_eq!(fault(&response).trace_id(), Some("0af7651916cd43dd8448eb211c80319c"));
}

#[tokio::test(start_paused = true)]
async fn one_way_calls_are_not_answered() {
    let (mut peer, _drain, seen, _) = server(&ServerConfig::default());
    for (id, method) in [(1, "echo"), (2, "panic"), (3, "sleep"), (4, "fail")] {
        let mut r = request(method, "5");
        r.set_mode(Mode::OneWay);
        peer.request(id, &r).await;
    }
    peer.request(5, &request("sleep", "50")).await;
    assert_eq!(peer.expect_response().await.0, 5);
    assert_eq!(seen.begun(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_asynchronous_call_is_acknowledged_and_pushed() {
    let (mut peer, _drain, _, _) = server(&ServerConfig::default());
    let mut r = request("accept", "1000");
    r.set_mode(Mode::Async);
    let start = tokio::time::Instant::now();
    peer.request(1, &r).await;
    assert_eq!(peer.expect_id(kind::ACK).await, 1);
    assert!(start.elapsed() < Duration::from_millis(100));
    let (id, response) = towpath_codec::decode_response(peer.expect(kind::PUSH).await).unwrap();
    assert_eq!((id, response.is_fault()), (1, false));

    // Nobody accepts: the result is proof enough, a fault is a refusal.
    let mut r = request("echo", "x");
    r.set_mode(Mode::Async);
    peer.request(2, &r).await;
    assert_eq!(peer.expect_id(kind::ACK).await, 2);
    assert_eq!(towpath_codec::id(&peer.expect(kind::PUSH).await), Some(2));
    let mut r = request("fail", "x");
    r.set_mode(Mode::Async);
    peer.request(3, &r).await;
    expect_fault(&mut peer, 3, "MCP-E-009").await;

    // Cancelled after the ACK: nothing more comes.
    let mut r = request("accept", "1000");
    r.set_mode(Mode::Async);
    peer.request(4, &r).await;
    peer.expect(kind::ACK).await;
    peer.short(kind::CANCEL, 4).await;
    peer.request(5, &request("sleep", "5000")).await;
    assert_eq!(peer.expect_response().await.0, 5);
}

#[tokio::test(start_paused = true)]
async fn calls_above_the_limit_are_refused() {
    let config = ServerConfig { max_outstanding: 2, ..Default::default() };
    let (mut peer, _drain, seen, _) = server(&config);
    let settings = towpath_codec::decode_settings(&peer.expect(kind::SETTINGS).await).unwrap();
    assert_eq!(settings, Settings { max_outstanding: Some(2), ..Settings::default() });
    for id in 1..=3 {
        peer.request(id, &request("sleep", "10")).await;
    }
    assert!(expect_fault(&mut peer, 3, "MCP-W-103").await.not_processed());
    assert_eq!(seen.begun(), 2);
    peer.expect_response().await;
    peer.expect_response().await;
    peer.request(4, &request("sleep", "10")).await;
    assert!(!peer.expect_response().await.1.is_fault());
}

#[tokio::test(start_paused = true)]
async fn an_answer_above_the_callers_limit_is_a_fault() {
    let (mut peer, _drain, _, _) = server(&ServerConfig::default());
    let mut out = Vec::new();
    towpath_codec::put_settings(&mut out, &Settings { max_payload: Some(2048), ..Settings::default() });
    peer.send(out).await;
    for (id, method) in [(1, "echo"), (2, "sleep")] {
        let body = if method == "sleep" { format!("{:04000}", 1) } else { "x".repeat(4000) };
        peer.request(id, &Request::new(method, Bytes::from(body))).await;
        assert!(!expect_fault(&mut peer, id, "MCP-E-003").await.not_processed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_was_accepted() {
    let (mut peer, drain, _, serving) = server(&ServerConfig::default());
    peer.request(1, &request("sleep", "500")).await;
    let mut r = request("accept", "800");
    r.set_mode(Mode::Async);
    peer.request(7, &r).await;
    peer.expect(kind::ACK).await;
    drain.start();
    let goaway = peer.expect_goaway().await;
    assert_eq!((goaway.reason, goaway.last_id), (GoAwayReason::Draining, 7));
    // It crossed the GOAWAY.
    peer.request(8, &request("echo", "late")).await;
    assert!(expect_fault(&mut peer, 8, "MCP-W-108").await.not_processed());
    assert_eq!(peer.expect_response().await.0, 1);
    assert_eq!(towpath_codec::id(&peer.expect(kind::PUSH).await), Some(7));
    assert!(peer.next().await.is_none());
    drop(peer);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_ever() {
    let config = ServerConfig { drain_timeout: Duration::from_secs(2), ..Default::default() };
    let (mut peer, drain, seen, _) = server(&config);
    peer.request(1, &request("sleep", "60000")).await;
    let mut r = request("accept", "60000");
    r.set_mode(Mode::Async);
    peer.request(2, &r).await;
    peer.expect(kind::ACK).await;
    let start = tokio::time::Instant::now();
    drain.start();
    peer.expect_goaway().await;
    for _ in 0..2 {
        let (kind, payload) = peer.next().await.unwrap();
        let (id, response) = towpath_codec::decode_response(payload).unwrap();
        assert_eq!(kind, if id == 1 { kind::RESPONSE } else { kind::PUSH });
        let fault = fault(&response);
        assert_eq!(fault.code().as_str(), if id == 1 { "MCP-W-102" } else { "MCP-W-108" });
        assert!(!fault.not_processed());
    }
    assert!(peer.next().await.is_none());
    assert_eq!(start.elapsed().as_secs(), 2);
    until("nothing runs", || seen.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_dies_takes_its_calls_with_it() {
    let (mut peer, _drain, seen, _) = server(&ServerConfig::default());
    peer.request(1, &request("sleep", "60000")).await;
    until("it runs", || seen.running() == 1).await;
    drop(peer);
    until("it has stopped", || seen.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_finished_still_gets_its_answers() {
    let (mut peer, _drain, _, _) = server(&ServerConfig::default());
    peer.request(1, &request("sleep", "100")).await;
    peer.goaway(&GoAway { reason: GoAwayReason::Draining, last_id: 0, text: String::new() }).await;
    tokio::io::AsyncWriteExt::shutdown(&mut peer.io).await.unwrap();
    assert_eq!(peer.expect_response().await.0, 1);
    assert!(peer.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_half_read_frame_is_not_waited_for_without_end() {
    let (mut peer, _drain, _, serving) = server(&ServerConfig::default());
    let bytes = request_frame(1, 0, &request("echo", "never whole"));
    peer.send(&bytes[..20]).await;
    let start = tokio::time::Instant::now();
    // A byte now and then is no progress worth waiting for.
    for byte in &bytes[20..25] {
        tokio::time::sleep(Duration::from_secs(5)).await;
        peer.send([*byte]).await;
    }
    assert!(peer.next().await.is_none());
    assert!(start.elapsed() <= Duration::from_secs(31), "{:?}", start.elapsed());
    drop(peer);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up() {
    let (mut peer, _drain, _, serving) = server(&ServerConfig::default());
    peer.short(kind::PING, 5).await;
    assert_eq!(peer.expect_id(kind::PONG).await, 5);
    let start = tokio::time::Instant::now();
    peer.expect(kind::PING).await;
    assert_eq!(start.elapsed().as_secs(), 60);
    assert!(peer.next().await.is_none());
    assert_eq!(start.elapsed().as_secs(), 80);
    drop(peer);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_when_asked_for() {
    let config = ServerConfig { idle_timeout: Some(Duration::from_secs(3)), ..Default::default() };
    let (mut peer, _drain, _, _) = server(&config);
    let settings = towpath_codec::decode_settings(&peer.expect(kind::SETTINGS).await).unwrap();
    assert_eq!(settings.idle_timeout_ms, Some(3000));
    peer.request(1, &request("sleep", "10000")).await;
    peer.expect_response().await;
    let start = tokio::time::Instant::now();
    assert_eq!(peer.expect_goaway().await.reason, GoAwayReason::Idle);
    assert!((0..=3).contains(&start.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_not_read_from() {
    let config = ServerConfig { max_backlog: 64 << 10, ..Default::default() };
    let (mut peer, _drain, seen, _) = server(&config);
    let body = Bytes::from(vec![1u8; 32 << 10]);
    let sent = tokio::time::timeout(Duration::from_secs(5), async {
        for id in 1.. {
            peer.request(id, &Request::new("echo", body.clone())).await;
        }
    });
    assert!(sent.await.is_err());
    // The pipe holds 1 MiB each way, the backlog 64 KiB.
    assert!(seen.begun() < 80, "{}", seen.begun());
    for _ in 0..seen.begun() {
        assert!(!peer.expect_response().await.1.is_fault());
    }
}
