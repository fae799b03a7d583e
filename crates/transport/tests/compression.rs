//! Compressed bodies, each way, and bodies that lie about what is in them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tower::Service;
use towpath_codec::{Algorithm, Compressed, GoAway, GoAwayReason, Limits, Settings, kind};
use towpath_core::{BoxError, ErrorKind, Fault, Mode, Processed, Request, Response};
use towpath_transport::{
    ClientConfig, Compression, Connection, Drain, Outcome, ResponseFuture, ServerConfig, ServerConnection,
};

const BOTH: [Algorithm; 2] = [Algorithm::Lz4, Algorithm::Zstd];

fn call(connection: &Connection, request: Request) -> ResponseFuture {
    connection.clone().call(request)
}

fn caller(algorithm: Algorithm) -> ClientConfig {
    ClientConfig { compression: Some(Compression::new(algorithm)), ..ClientConfig::default() }
}

fn callee(algorithm: Algorithm) -> ServerConfig {
    ServerConfig { compression: Some(Compression::new(algorithm)), ..ServerConfig::default() }
}

/// Compresses well.
fn text(len: usize) -> Bytes {
    Bytes::from(br#"{"id":1001,"sku":"85123A","quantity":6} "#.repeat(len / 40 + 1)[..len].to_vec())
}

fn settings(bits: u32) -> Vec<u8> {
    let mut out = Vec::new();
    towpath_codec::put_settings(&mut out, &Settings { compression: Some(bits), ..Settings::default() });
    out
}

/// A request with a body that is compressed, or that says that it is.
fn packed(id: u64, method: &'static str, body: impl Into<Bytes>) -> Vec<u8> {
    let mut request = Request::new(method, body.into());
    request.extensions_mut().insert(Compressed);
    request_frame(id, 0, &request)
}

fn lying(algorithm: Algorithm, declared: u32) -> Vec<u8> {
    let mut body = towpath_codec::compress(algorithm, &text(100_000)).unwrap().to_vec();
    body[1..5].copy_from_slice(&declared.to_be_bytes());
    body
}

/// The test's side of a client connection, after both have said what they read.
async fn greeted_client(config: &ClientConfig, bits: u32) -> (Connection, Peer) {
    let (connection, _, mut peer) = client(config);
    let said = towpath_codec::decode_settings(&peer.expect(kind::SETTINGS).await).unwrap();
    assert_eq!(said.compression, Some(3));
    peer.send(settings(bits)).await;
    connection.ping_through(&mut peer).await;
    (connection, peer)
}

trait PingThrough {
    async fn ping_through(&self, peer: &mut Peer);
}

impl PingThrough for Connection {
    /// What was sent before is read when the answer is there.
    async fn ping_through(&self, peer: &mut Peer) {
        let ping = tokio::spawn(self.ping());
        let id = peer.expect_id(kind::PING).await;
        peer.short(kind::PONG, id).await;
        ping.await.unwrap().unwrap();
    }
}

/// What is on the wire: the length of the body as it came, and the body.
async fn expect_packed(peer: &mut Peer) -> (u64, usize, Bytes) {
    let payload = peer.expect(kind::REQUEST).await;
    let limits = Limits { allow_compressed: true, ..Limits::default() };
    let decoded = towpath_codec::decode_request(payload, &limits).unwrap();
    let body = decoded.request.body();
    let plain = match decoded.request.extensions().get::<Compressed>() {
        Some(_) => towpath_codec::decompress(body, u32::MAX).unwrap(),
        None => body.clone(),
    };
    (decoded.id, body.len(), plain)
}

#[tokio::test(start_paused = true)]
async fn bodies_of_any_size_come_back_as_they_were() {
    for algorithm in BOTH {
        let (connection, _drain, seen) = pair_over(PIPE, &caller(algorithm), &callee(algorithm));
        for len in [0, 1, 1023, 1024, 5000, 65_536, 65_537, 300_000, 5 << 20] {
            for mode in [Mode::Unary, Mode::Async] {
                let mut request = Request::new("echo", text(len));
                request.set_mode(mode);
                let answer = call(&connection, request).await.unwrap();
                let answer = match Outcome::take(&answer) {
                    Some(outcome) => outcome.await.unwrap(),
                    None => answer,
                };
                assert_eq!(answer.body(), &text(len), "{algorithm} {len}");
                assert!(answer.extensions().is_empty());
            }
        }
        assert_eq!((seen.running(), connection.outstanding()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_compresses_what_is_worth_it_and_only_what_the_peer_reads() {
    for algorithm in BOTH {
        let (connection, mut peer) = greeted_client(&caller(algorithm), algorithm.bit()).await;
        let mut dice = 1u64;
        let noise: Bytes = (0..5000)
            .map(|_| {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                dice as u8
            })
            .collect();
        for (body, shorter) in
            [(text(1024), true), (text(1023), false), (noise, false), (text(100_000), true)]
        {
            let answer = tokio::spawn(call(&connection, Request::new("echo", body.clone())));
            let (id, on_the_wire, plain) = expect_packed(&mut peer).await;
            assert!(plain == body);
            assert_eq!(on_the_wire < body.len(), shorter, "{algorithm} {}", body.len());
            peer.respond(id, "").await;
            answer.await.unwrap().unwrap();
        }
        // It can change its mind.
        peer.send(settings(3 - algorithm.bit())).await;
        connection.ping_through(&mut peer).await;
        let _answer = tokio::spawn(call(&connection, Request::new("echo", text(5000))));
        assert_eq!(expect_packed(&mut peer).await.1, 5000);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_told_to_compresses_nothing_and_announces_nothing() {
    let (connection, _, mut peer) = client(&ClientConfig::default());
    peer.send(settings(3)).await;
    connection.ping_through(&mut peer).await;
    let _answer = tokio::spawn(call(&connection, Request::new("echo", text(5000))));
    assert_eq!(expect_packed(&mut peer).await.1, 5000);

    let (mut peer, _drain, _, _) = server(&ServerConfig::default());
    peer.send(settings(3)).await;
    peer.request(1, &Request::new("echo", text(5000))).await;
    assert_eq!(peer.expect_response().await.1.body().len(), 5000);
}

#[tokio::test(start_paused = true)]
async fn a_server_compresses_only_for_a_caller_that_reads_it() {
    for algorithm in BOTH {
        let (mut peer, _drain, _, _) = server(&callee(algorithm));
        assert_eq!(
            towpath_codec::decode_settings(&peer.expect(kind::SETTINGS).await).unwrap().compression,
            Some(3)
        );
        peer.request(1, &Request::new("echo", text(5000))).await;
        assert_eq!(peer.expect_response().await.1.body(), &text(5000));
        peer.send(settings(3 - algorithm.bit())).await;
        peer.request(2, &Request::new("echo", text(5000))).await;
        assert_eq!(peer.expect_response().await.1.body(), &text(5000));
        peer.send(settings(3)).await;
        for (id, len) in [(3, 5000), (4, 300_000)] {
            peer.request(id, &Request::new("echo", text(len))).await;
            let payload = peer.expect(kind::RESPONSE).await;
            let (_, answer) = towpath_codec::decode_response_with(payload, Some(u32::MAX)).unwrap();
            assert!(answer.extensions().get::<Compressed>().is_some(), "{len}");
            assert_eq!((answer.body()[0], answer.body().len() < len / 2), (algorithm.code(), true));
            assert_eq!(towpath_codec::decompress(answer.body(), u32::MAX).unwrap(), text(len));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_lies_is_malformed_and_the_connection_lives() {
    for algorithm in BOTH {
        let (mut peer, _drain, seen, _) = server(&callee(algorithm));
        peer.expect(kind::SETTINGS).await;
        let bodies = [
            lying(algorithm, 99_999),
            lying(algorithm, 100_001),
            lying(algorithm, 10),
            lying(algorithm, (16 << 20) + 1),
            lying(algorithm, u32::MAX),
            vec![algorithm.code(), 0, 0, 0],
            vec![algorithm.code(), 0, 0, 0, 9, 1, 2, 3],
            vec![7, 0, 0, 0, 9, 1, 2, 3],
        ];
        for (id, body) in (1..).zip(bodies) {
            peer.send(packed(id, "echo", body)).await;
            let (got, answer) = peer.expect_response().await;
            let fault = Fault::from_response(&answer).unwrap();
            assert_eq!((got, fault.code().to_string().as_str()), (id, "MCP-E-001"), "{fault:?}");
        }
        assert_eq!(seen.begun(), 0, "no handler has begun");
        peer.send(packed(100, "echo", towpath_codec::compress(algorithm, &text(2000)).unwrap())).await;
        assert_eq!(peer.expect_response().await.1.body(), &text(2000));
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_holds_for_what_comes_out() {
    for algorithm in BOTH {
        let config = ServerConfig { max_payload: 50_000, ..callee(algorithm) };
        let (mut peer, _drain, _, _) = server(&config);
        peer.expect(kind::SETTINGS).await;
        for (id, len, fits) in [(1, 50_000, true), (2, 50_001, false)] {
            peer.send(packed(id, "echo", towpath_codec::compress(algorithm, &text(len)).unwrap())).await;
            assert_eq!(peer.expect_response().await.1.is_fault(), !fits);
        }

        let config = ClientConfig { max_payload: 50_000, ..caller(algorithm) };
        let (connection, mut peer) = greeted_client(&config, 0).await;
        for (len, fits) in [(50_000, true), (50_001, false)] {
            let answer = tokio::spawn(call(&connection, request("echo", "")));
            let (id, ..) = expect_packed(&mut peer).await;
            let body = towpath_codec::compress(algorithm, &text(len)).unwrap();
            let mut response = Response::new(body);
            response.extensions_mut().insert(Compressed);
            peer.answer(kind::RESPONSE, id, &response).await;
            assert_eq!(answer.await.unwrap().is_ok(), fits);
        }
        // Nor is one sent that would only fit compressed: its sender says so itself.
        let mut out = Vec::new();
        let small = Settings { max_payload: Some(2000), compression: Some(3), ..Settings::default() };
        towpath_codec::put_settings(&mut out, &small);
        peer.send(out).await;
        connection.ping_through(&mut peer).await;
        let refused = call(&connection, Request::new("echo", text(2001))).await.unwrap_err();
        assert_eq!((refused.kind(), refused.processed()), (ErrorKind::TooLarge, Processed::No));
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_answer_fails_its_call_only() {
    for algorithm in BOTH {
        let (connection, mut peer) = greeted_client(&caller(algorithm), 0).await;
        for body in [lying(algorithm, 99_999), lying(algorithm, 100_001), vec![9, 0, 0, 0, 1, 1]] {
            let answer = tokio::spawn(call(&connection, request("echo", "")));
            let (id, ..) = expect_packed(&mut peer).await;
            let mut response = Response::new(Bytes::from(body));
            response.extensions_mut().insert(Compressed);
            peer.answer(kind::RESPONSE, id, &response).await;
            let error = answer.await.unwrap().unwrap_err();
            assert_eq!((error.kind(), error.processed()), (ErrorKind::Malformed, Processed::Unknown));
        }
        assert!(!connection.is_closed());
    }
}

/// 16 MiB of nothing are about 1.5 KiB on the wire: as many as one read holds must not all be made.
#[tokio::test(start_paused = true)]
async fn many_bombs_together_are_held_within_the_limit() {
    let config = ServerConfig { max_held: 32 << 20, ..callee(Algorithm::Zstd) };
    let (mut peer, _drain, seen, _) = server(&config);
    peer.expect(kind::SETTINGS).await;
    let bomb = towpath_codec::compress(Algorithm::Zstd, &vec![b'0'; 16 << 20]).unwrap();
    assert!(bomb.len() < 2000, "{}", bomb.len());
    let mut all = Vec::new();
    for id in 1..=20 {
        all.extend(packed(id, "sleep", bomb.clone()));
    }
    peer.send(all).await;
    let mut refused = 0;
    for _ in 0..19 {
        let (_, answer) = peer.expect_response().await;
        let fault = Fault::from_response(&answer).unwrap();
        refused += usize::from(fault.code() == "MCP-W-103" && fault.not_processed());
    }
    assert_eq!(refused, 19, "one at a time: with the frame's own bytes two are above 32 MiB");
    // It is no number of milliseconds: its handler panics, or goes on for ever.
    until("the handler has begun or ended", || seen.begun() == 1).await;
}

/// A large body is decompressed where it stalls nobody: a call that comes later on the same connection is
/// answered first. On a runtime with one thread, which a decompression there would hold up.
#[tokio::test]
async fn small_calls_overtake_a_large_compressed_one() {
    let (mut peer, _drain, _, _) = server_over(32 << 20, &callee(Algorithm::Zstd));
    peer.expect(kind::SETTINGS).await;
    let large = towpath_codec::compress(Algorithm::Zstd, &text(12 << 20)).unwrap();
    // On a machine that is busy with other things, the other thread may be done before this one goes on.
    for round in (1..40).step_by(2) {
        peer.send(packed(round, "echo", large.clone())).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        peer.request(round + 1, &request("echo", "small")).await;
        let first = tokio::time::timeout(Duration::from_secs(20), peer.expect_response()).await.unwrap();
        let second = tokio::time::timeout(Duration::from_secs(20), peer.expect_response()).await.unwrap();
        if first.0 == round + 1 {
            assert_eq!((second.0, second.1.body().len()), (round, 12 << 20));
            return;
        }
    }
    panic!("it is always the large one that is answered first");
}

/// Nor is a large answer of an asynchronous call compressed there.
#[tokio::test]
async fn small_calls_overtake_a_large_answer_that_is_pushed() {
    let (mut peer, _drain, _, _) = server_over(32 << 20, &callee(Algorithm::Zstd));
    peer.expect(kind::SETTINGS).await;
    peer.send(settings(3)).await;
    let mut large = Request::new("echo", text(12 << 20));
    large.set_mode(Mode::Async);
    for round in (1..40).step_by(2) {
        let mut both = request_frame(round, 0, &large);
        both.extend(request_frame(round + 1, 0, &request("echo", "small")));
        peer.send(both).await;
        let mut order = Vec::new();
        while order.len() < 3 {
            let next = tokio::time::timeout(Duration::from_secs(20), peer.next()).await.unwrap();
            order.push(next.unwrap().0);
        }
        assert!(order.iter().position(|k| *k == kind::ACK) < order.iter().position(|k| *k == kind::PUSH));
        if order.last() == Some(&kind::PUSH) {
            return;
        }
    }
    panic!("it is always the large one that is answered first");
}

/// Clones panic as long as it is told to.
struct Fragile(Arc<AtomicBool>);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(!self.0.swap(false, SeqCst), "on purpose");
        Fragile(self.0.clone())
    }
}

impl Service<Request> for Fragile {
    type Response = Response;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_body())))
    }
}

/// A compressed call is moved aside with a clone of the service: whoever has made it hears what came of that.
#[tokio::test(start_paused = true)]
async fn a_service_that_panics_when_it_is_cloned_answers() {
    let (near, far) = tokio::io::duplex(PIPE);
    let breaks = Arc::new(AtomicBool::new(false));
    let (drain, service) = (Drain::new(), Fragile(breaks.clone()));
    tokio::spawn(ServerConnection::new(near, service, &callee(Algorithm::Lz4), drain.watch()));
    let mut peer = Peer { io: far };
    peer.expect(kind::SETTINGS).await;
    let body = towpath_codec::compress(Algorithm::Lz4, &text(2000)).unwrap();
    for mode in [Mode::Unary, Mode::Async] {
        let first = if mode == Mode::Unary { 1 } else { 11 };
        breaks.store(true, SeqCst);
        let mut request = Request::new("echo", body.clone());
        request.extensions_mut().insert(Compressed);
        request.set_mode(mode);
        peer.send(request_frame(first, 0, &request)).await;
        let (id, answer) = peer.expect_response().await;
        let fault = Fault::from_response(&answer).unwrap();
        assert_eq!((id, fault.code().to_string().as_str()), (first, "MCP-E-009"), "{fault:?}");
        peer.send(packed(first + 1, "echo", body.clone())).await;
        assert_eq!(peer.expect_response().await.1.body(), &text(2000));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_is_not_begun_after_its_body_was_decompressed() {
    let (mut peer, _drain, seen, _) = server(&callee(Algorithm::Lz4));
    peer.expect(kind::SETTINGS).await;
    let mut both = packed(1, "echo", towpath_codec::compress(Algorithm::Lz4, &text(3 << 20)).unwrap());
    both.extend(frame(kind::CANCEL, &1u64.to_be_bytes()));
    peer.send(both).await;
    peer.short(kind::PING, 7).await;
    assert_eq!(peer.expect_id(kind::PONG).await, 7);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(seen.begun(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_back_is_as_it_was_given() {
    let (connection, mut peer) = greeted_client(&caller(Algorithm::Lz4), 3).await;
    let mut future = call(&connection, Request::new("echo", text(9000)));
    let sent = async {
        let (_, on_the_wire, _) = expect_packed(&mut peer).await;
        assert!(on_the_wire < 9000);
        peer.goaway(&GoAway { reason: GoAwayReason::Draining, last_id: 0, text: String::new() }).await;
    };
    let (error, ()) = tokio::join!(&mut future, sent);
    assert_eq!(error.unwrap_err().processed(), Processed::No);
    let request = future.take_request().unwrap();
    assert_eq!(request.body(), &text(9000));
    assert!(request.extensions().is_empty());
}

#[test]
fn a_setting_that_this_build_cannot_keep_is_named() {
    assert_eq!(caller(Algorithm::Zstd).validate(), Ok(()));
    let only_reads = Compression { send: None, ..Compression::default() };
    assert_eq!(ServerConfig { compression: Some(only_reads), ..ServerConfig::default() }.validate(), Ok(()));
    let said: ClientConfig =
        serde_json::from_str(r#"{"compression": {"send": "zstd", "min_size": 256}}"#).unwrap();
    assert_eq!(said.compression, Some(Compression { send: Some(Algorithm::Zstd), min_size: 256 }));
}
