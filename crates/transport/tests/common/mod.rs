//! A peer that speaks in frames, for the side that is not under test.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
};
use tower::service_fn;
use towpath_codec::{FrameHeader, GoAway, HEADER_LEN, kind};
use towpath_core::{BoxError, CodecId, Error, ErrorKind, Request, Response};
use towpath_transport::{ClientConfig, Connection, Drain, ServerConfig, ServerConnection};

/// Large enough that nothing blocks unless a test wants it to.
pub const PIPE: usize = 1 << 20;

pub struct Peer {
    pub io: DuplexStream,
}

impl Peer {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    pub async fn frame(&mut self, kind: u8, payload: impl AsRef<[u8]>) {
        self.send(frame(kind, payload.as_ref())).await;
    }

    pub async fn short(&mut self, kind: u8, id: u64) {
        self.frame(kind, id.to_be_bytes()).await;
    }

    pub async fn request(&mut self, id: u64, request: &Request) {
        self.send(request_frame(id, 0, request)).await;
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<(u8, Bytes)> {
        let mut head = [0; HEADER_LEN];
        match self.io.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("{error}"),
        }
        let header = FrameHeader::parse(&head, u32::MAX).unwrap();
        let mut payload = vec![0; header.len as usize];
        self.io.read_exact(&mut payload).await.unwrap();
        Some((header.kind, payload.into()))
    }

    /// The next frame, which must be of a kind.
    pub async fn expect(&mut self, kind: u8) -> Bytes {
        let (got, payload) = self.next().await.expect("a frame, not the end");
        assert_eq!(got, kind, "{} instead of {}", kind::name(got), kind::name(kind));
        payload
    }

    pub async fn expect_id(&mut self, kind: u8) -> u64 {
        towpath_codec::id(&self.expect(kind).await).unwrap()
    }

    pub async fn expect_response(&mut self) -> (u64, Response) {
        towpath_codec::decode_response(self.expect(kind::RESPONSE).await).unwrap()
    }

    pub async fn expect_goaway(&mut self) -> GoAway {
        towpath_codec::decode_goaway(&self.expect(kind::GOAWAY).await).unwrap()
    }

    pub async fn expect_request(&mut self) -> (u64, u32, Request) {
        let payload = self.expect(kind::REQUEST).await;
        let decoded = towpath_codec::decode_request(payload, &Default::default()).unwrap();
        (decoded.id, decoded.timeout_ms, decoded.request)
    }

    pub async fn respond(&mut self, id: u64, body: &'static str) {
        self.answer(kind::RESPONSE, id, &Response::new(Bytes::from_static(body.as_bytes()))).await;
    }

    pub async fn answer(&mut self, kind: u8, id: u64, response: &Response) {
        let mut out = Vec::new();
        towpath_codec::put_response_head(&mut out, kind, id, response).unwrap();
        out.extend_from_slice(response.body());
        self.send(out).await;
    }

    pub async fn goaway(&mut self, goaway: &GoAway) {
        let mut out = Vec::new();
        towpath_codec::put_goaway(&mut out, goaway);
        self.send(out).await;
    }
}

pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = FrameHeader { kind, len: payload.len() as u32 }.to_bytes().to_vec();
    out.extend_from_slice(payload);
    out
}

pub fn request_frame(id: u64, timeout_ms: u32, request: &Request) -> Vec<u8> {
    let mut out = Vec::new();
    towpath_codec::put_request_head(&mut out, id, timeout_ms, request).unwrap();
    out.extend_from_slice(request.body());
    out
}

pub fn request(method: &'static str, body: &'static str) -> Request {
    Request::new(method, Bytes::from_static(body.as_bytes()))
}

/// A client connection whose server is the test.
pub fn client(config: &ClientConfig) -> (Connection, JoinHandle<Result<(), Error>>, Peer) {
    client_over(PIPE, config)
}

/// The same over a pipe that holds so much each way.
pub fn client_over(pipe: usize, config: &ClientConfig) -> (Connection, JoinHandle<Result<(), Error>>, Peer) {
    let (near, far) = tokio::io::duplex(pipe);
    let (connection, driver) = Connection::new(near, "test", config).unwrap();
    (connection, tokio::spawn(driver), Peer { io: far })
}

/// What the test service has seen.
#[derive(Clone, Default)]
pub struct Seen {
    pub begun: Arc<AtomicUsize>,
    pub running: Arc<AtomicUsize>,
}

impl Seen {
    pub fn begun(&self) -> usize {
        self.begun.load(SeqCst)
    }

    pub fn running(&self) -> usize {
        self.running.load(SeqCst)
    }
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// `echo`, `sleep` (milliseconds in the body), `panic`, `panic-late`, `fail`, `accept` (then as `sleep`).
pub async fn handle(request: Request, seen: Seen) -> Result<Response, BoxError> {
    seen.begun.fetch_add(1, SeqCst);
    seen.running.fetch_add(1, SeqCst);
    let _running = Running(seen.running.clone());
    let text = String::from_utf8_lossy(request.body()).into_owned();
    let millis = || Duration::from_millis(text.parse().unwrap());
    match request.method().as_str() {
        "sleep" => tokio::time::sleep(millis()).await,
        "accept" => {
            request.accept();
            tokio::time::sleep(millis()).await;
        }
        "panic" => panic!("on purpose"),
        "panic-late" => {
            tokio::task::yield_now().await;
            panic!("on purpose");
        }
        "below" => return Err(Error::new(ErrorKind::ConnectFailed).at("mcp://below:1").into()),
        "fail" => return Err("something broke".into()),
        _ => {}
    }
    let mut response = Response::new(request.body().clone());
    response.set_codec(request.codec());
    Ok(response)
}

/// A server connection whose client is the test.
pub fn server(config: &ServerConfig) -> (Peer, Drain, Seen, JoinHandle<()>) {
    server_over(PIPE, config)
}

/// The same over a pipe that holds so much each way.
pub fn server_over(pipe: usize, config: &ServerConfig) -> (Peer, Drain, Seen, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(pipe);
    let (drain, seen) = (Drain::new(), Seen::default());
    let service = {
        let seen = seen.clone();
        service_fn(move |request: Request| handle(request, seen.clone()))
    };
    let serving = tokio::spawn(ServerConnection::new(near, service, config, drain.watch()));
    (Peer { io: far }, drain, seen, serving)
}

/// Client and server, back to back.
pub fn pair() -> (Connection, Drain, Seen) {
    pair_over(PIPE, &ClientConfig::default(), &ServerConfig::default())
}

/// The same over a pipe that holds so much each way.
pub fn pair_over(
    pipe: usize,
    client_config: &ClientConfig,
    server_config: &ServerConfig,
) -> (Connection, Drain, Seen) {
    let (near, far) = tokio::io::duplex(pipe);
    let (drain, seen) = (Drain::new(), Seen::default());
    let service = {
        let seen = seen.clone();
        service_fn(move |request: Request| handle(request, seen.clone()))
    };
    tokio::spawn(ServerConnection::new(far, service, server_config, drain.watch()));
    let (connection, driver) = Connection::new(near, "test", client_config).unwrap();
    tokio::spawn(driver);
    (connection, drain, seen)
}

/// Waits until something is so, on paused time; fails after a while. That is one of the machine's time as well: other
/// threads, which decompress, have their own.
#[allow(clippy::disallowed_types)]
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    for turn in 0.. {
        if so() {
            return;
        }
        let long = turn >= 10_000 && begin.elapsed() > Duration::from_secs(10);
        assert!(!long, "never: {what}");
        tokio::task::yield_now().await;
    }
}

pub fn within(ms: u64, future: impl Future) -> impl Future {
    async move { tokio::time::timeout(Duration::from_millis(ms), future).await.expect("in time") }
}

pub const JSON: CodecId = CodecId::JSON;
