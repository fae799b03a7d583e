//! How such stacks die, and that this one does not: a test for each known way, seen from outside.
//!
//! Where a bound in time is judged, the clock is paused: what is measured is what the stack waits for, not how
//! busy the machine is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::{Nap, Serving, router, serve, serve_at, soon, until};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, sleep_until},
};
use tower::{ServiceBuilder, limit::ConcurrencyLimitLayer, load_shed::LoadShedLayer};
use towpath::{
    BoxError, CallError, Client, ClientConfig, ClientState, Error, ErrorKind, Fault, Json, Mode, Processed,
    Request, Response, Router, Server, ServerConfig, State,
    codec::{self, HEADER_LEN, kind},
    transport::{Connection, Drain, ServerConnection},
};

/// Room for what a test has under way.
const PIPE: usize = 1 << 20;

/// A client that is connected to the other end.
fn client_of(near: DuplexStream) -> Client {
    let (connection, driver) = Connection::new(near, "peer", &ClientConfig::default()).unwrap();
    tokio::spawn(driver);
    Client::builder().over(connection)
}

/// Serves one connection; the drain has to be kept.
fn serve_one<S>(far: DuplexStream, service: S) -> Drain
where
    S: tower::Service<Request, Response = Response, Error: Into<BoxError>> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let drain = Drain::new();
    tokio::spawn(ServerConnection::new(far, service, &ServerConfig::default(), drain.watch()));
    drain
}

/// A client and what serves it, in memory.
fn pair<S>(service: S) -> (Client, Drain)
where
    S: tower::Service<Request, Response = Response, Error: Into<BoxError>> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let (near, far) = tokio::io::duplex(PIPE);
    (client_of(near), serve_one(far, service))
}

async fn read_frame(io: &mut (impl AsyncReadExt + Unpin)) -> (u8, Bytes) {
    let mut head = [0; HEADER_LEN];
    io.read_exact(&mut head).await.unwrap();
    let header = codec::FrameHeader::parse(&head, u32::MAX).unwrap();
    let mut payload = vec![0; header.len as usize];
    io.read_exact(&mut payload).await.unwrap();
    (header.kind, payload.into())
}

async fn read_request(io: &mut (impl AsyncReadExt + Unpin)) -> u64 {
    loop {
        let (kind, payload) = read_frame(io).await;
        if kind == kind::REQUEST {
            return codec::id(&payload).unwrap();
        }
    }
}

async fn read_response(io: &mut (impl AsyncReadExt + Unpin)) -> Response {
    loop {
        let (kind, payload) = read_frame(io).await;
        if kind == kind::RESPONSE {
            return codec::decode_response(payload).unwrap().1;
        }
    }
}

fn request_frame(id: u64, timeout_ms: u32, mode: Mode, method: &'static str, body: &'static str) -> Vec<u8> {
    let mut request = Request::new(method, Bytes::from_static(body.as_bytes()));
    request.set_mode(mode);
    let mut out = Vec::new();
    codec::put_request_head(&mut out, id, timeout_ms, &request).unwrap();
    out.extend_from_slice(request.body());
    out
}

fn response_frame(id: u64, body: &'static str) -> Vec<u8> {
    let response = Response::new(Bytes::from_static(body.as_bytes()));
    let mut out = Vec::new();
    codec::put_response_head(&mut out, kind::RESPONSE, id, &response).unwrap();
    out.extend_from_slice(response.body());
    out
}

/// Counts those who are in it.
#[derive(Clone, Default)]
struct Gauge {
    begun: Arc<AtomicUsize>,
    inside: Arc<AtomicUsize>,
}

struct Inside(Gauge);

impl Gauge {
    fn enter(&self) -> Inside {
        self.begun.fetch_add(1, SeqCst);
        self.inside.fetch_add(1, SeqCst);
        Inside(self.clone())
    }

    fn begun(&self) -> usize {
        self.begun.load(SeqCst)
    }

    fn inside(&self) -> usize {
        self.inside.load(SeqCst)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, SeqCst);
    }
}

// ---- 18: the wrong phase is timed ----------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn p18_an_answer_that_drips_in_ends_with_the_deadline() {
    let (near, mut far) = tokio::io::duplex(PIPE);
    let client = client_of(near);
    tokio::spawn(async move {
        let id = read_request(&mut far).await;
        // The header comes at once, and the last byte after 28 seconds.
        for byte in response_frame(id, "slowly") {
            if far.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
        // Whoever is still there gets the rest of the day.
        std::future::pending::<()>().await;
    });
    let start = Instant::now();
    let call = client.request("Slow.Answer").raw("").timeout(Duration::from_millis(5_000));
    let error = call.send::<String>().await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let late = start.elapsed() - Duration::from_millis(5_000);
    assert!(late <= Duration::from_millis(10), "{late:?} late");
    // The dripping peer is alive, and the next call has a deadline of its own.
    let start = Instant::now();
    let call = client.request("Slow.Answer").raw("").timeout(Duration::from_millis(700));
    assert!(call.send::<String>().await.unwrap_err().is_timeout());
    assert!(start.elapsed() <= Duration::from_millis(710), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn p18_a_request_that_drips_in_is_late_when_it_is_there() {
    let gauge = Gauge::default();
    let handler = async |State(gauge): State<Gauge>| {
        let _inside = gauge.enter();
        "late"
    };
    let router = Router::new().route("A.B", handler).with_state(gauge.clone());
    let (mut near, far) = tokio::io::duplex(PIPE);
    let _drain = serve_one(far, router);
    let frame = request_frame(1, 10_000, Mode::Unary, "A.B", "");
    assert!(frame.len() < 40);
    let (head, rest) = frame.split_at(HEADER_LEN);
    near.write_all(head).await.unwrap();
    let start = Instant::now();
    // One byte a second, and two for the last: 24 seconds after the header, with 10 to live.
    for byte in rest {
        sleep(Duration::from_secs(1)).await;
        near.write_all(&[*byte]).await.unwrap();
    }
    let answer = read_response(&mut near).await;
    let fault = Fault::from_response(&answer).unwrap();
    assert!(fault.code() == "MCP-W-101" && fault.not_processed(), "{fault:?}");
    assert_eq!(start.elapsed().as_secs() as usize, rest.len(), "answered as soon as it was whole");
    assert_eq!(gauge.begun(), 0, "nothing that is late is begun");
}

#[tokio::test(start_paused = true)]
async fn p18_a_handler_stops_at_the_deadline_although_its_caller_takes_a_byte_a_second() {
    let gauge = Gauge::default();
    let handler = async |State(gauge): State<Gauge>| {
        let _inside = gauge.enter();
        std::future::pending::<()>().await;
    };
    let big = async || "x".repeat(100_000);
    let router = Router::new().route("A.B", handler).route("A.Big", big).with_state(gauge.clone());
    let (mut near, far) = tokio::io::duplex(64);
    let _drain = serve_one(far, router);
    let mut frames = request_frame(1, 0, Mode::Unary, "A.Big", "");
    frames.extend(request_frame(2, 3_000, Mode::Unary, "A.B", ""));
    near.write_all(&frames[..60]).await.unwrap();
    tokio::spawn(async move {
        let mut rest = &frames[60..];
        loop {
            // The socket is full of the first answer all the time.
            let mut byte = [0];
            near.read_exact(&mut byte).await.unwrap();
            if !rest.is_empty() {
                near.write_all(rest).await.unwrap();
                rest = &[];
            }
            sleep(Duration::from_secs(1)).await;
        }
    });
    until("it has begun", || gauge.inside() == 1).await;
    let start = Instant::now();
    while gauge.inside() == 1 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(start.elapsed() <= Duration::from_millis(3_005), "{:?}", start.elapsed());
}

// ---- 19: cancellation stops at the first hop -----------------------------------------------------------

/// When each call's caller went, and when its handler stopped, on each hop.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<HashMap<(u8, u64), Instant>>>);

impl Ends {
    fn note(&self, hop: u8, call: u64) {
        self.0.lock().unwrap().insert((hop, call), Instant::now());
    }
}

/// Notes its end.
struct Noted(Ends, u8, u64, #[allow(dead_code, reason = "it counts until it is dropped")] Inside);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.note(self.1, self.2);
    }
}

#[derive(Clone)]
struct Hop {
    number: u8,
    gauge: Gauge,
    ends: Ends,
    next: Option<Client>,
}

async fn hang(State(hop): State<Hop>, Json(call): Json<u64>) {
    let _noted = Noted(hop.ends.clone(), hop.number, call, hop.gauge.enter());
    match &hop.next {
        Some(next) => {
            let _ = next.call::<()>("Chain.Hang", &call).await;
        }
        None => std::future::pending().await,
    }
}

async fn echo(State(hop): State<Hop>, Json(call): Json<u64>) -> Result<Json<u64>, Fault> {
    match &hop.next {
        Some(next) => {
            let below = next.call("Chain.Echo", &call).await;
            below.map(Json).map_err(|error| Fault::new(ErrorKind::HandlerFailed, error.to_string()))
        }
        None => Ok(Json(call)),
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_caller_dropped_at_1000_random_moments_stops_both_hops() {
    const CALLS: u64 = 1_000;
    let ends = Ends::default();
    let gauges = [Gauge::default(), Gauge::default()];
    let hop = |number: u8, next| {
        let gauge = gauges[usize::from(number)].clone();
        let hop = Hop { number, gauge, ends: ends.clone(), next };
        Router::new().route("Chain.Hang", hang).route("Chain.Echo", echo).with_state(hop)
    };
    let (second, _drain) = pair(hop(1, None));
    let (near, far) = tokio::io::duplex(PIPE);
    let _drain = serve_one(far, hop(0, Some(second)));
    let (connection, driver) = Connection::new(near, "first", &ClientConfig::default()).unwrap();
    tokio::spawn(driver);
    let first = Client::builder().over(connection.clone());

    let mut dice = fastrand::Rng::with_seed(19);
    let mut callers = Vec::new();
    for call in 0..CALLS {
        let (first, ends) = (first.clone(), ends.clone());
        let moment = Duration::from_micros(dice.u64(0..20_000));
        let polls = dice.usize(0..12);
        callers.push(tokio::spawn(async move {
            let mut hanging = Box::pin(first.call::<()>("Chain.Hang", &call));
            // Some between two timer ticks, in the middle of what the tasks are doing; most at some time later.
            if call % 4 == 0 {
                for _ in 0..polls {
                    let _ = futures_poll(hanging.as_mut());
                    tokio::task::yield_now().await;
                }
            } else {
                let _ = tokio::time::timeout(moment, hanging.as_mut()).await;
            }
            ends.note(u8::MAX, call);
            drop(hanging);
            // It serves on, and no answer goes to a wrong call.
            let heard: u64 = first.call("Chain.Echo", &call).await.unwrap();
            assert_eq!(heard, call);
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    sleep(Duration::from_millis(10)).await;
    assert_eq!((gauges[0].inside(), gauges[1].inside(), connection.outstanding()), (0, 0, 0));
    assert!(gauges[1].begun() > 700, "most had come to the second hop: {}", gauges[1].begun());
    let ends = ends.0.lock().unwrap();
    let mut worst = Duration::ZERO;
    for ((hop, call), stopped) in ends.iter().filter(|((hop, _), _)| *hop != u8::MAX) {
        let after = stopped.saturating_duration_since(ends[&(u8::MAX, *call)]);
        assert!(after <= Duration::from_millis(5), "call {call} stopped {after:?} late at hop {hop}");
        worst = worst.max(after);
    }
    assert!(!connection.is_closed(), "{worst:?}");
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

// ---- 24: shedding the wrong thing ----------------------------------------------------------------------

/// Binds the same port again: the system may take a moment to give it back.
async fn serve_again(address: std::net::SocketAddr) -> Serving {
    for _ in 0..200 {
        if let Ok(listener) = TcpListener::bind(address).await {
            drop(listener);
            return serve_at(address, router()).await;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("{address} does not become free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p24_calls_wait_while_a_server_is_away_for_100_ms() {
    let server = serve(router()).await;
    let address = server.address;
    let client = Client::connect(server.url()).await.unwrap();
    client.call::<u64>("Debug.Sleep", &Nap { ms: 0 }).await.unwrap();
    server.kill().await;
    let away = tokio::spawn(async move {
        sleep(Duration::from_millis(100)).await;
        serve_again(address).await
    });
    until("the loss is noticed", || !matches!(client.state(), ClientState::Connected)).await;
    // From the loss until the server is back: nobody is turned away.
    let mut calls = Vec::new();
    for n in 0..200u64 {
        let client = client.clone();
        calls.push(tokio::spawn(async move {
            client.request("Echo.Echo").raw(n.to_string()).send::<String>().await
        }));
        sleep(Duration::from_micros(500)).await;
    }
    let _server = away.await.unwrap();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(soon(call).await.unwrap().unwrap(), n.to_string());
    }
}

/// 10 ms a call, 8 at a time: 800 calls a second.
const WORK: Duration = Duration::from_millis(10);
const AT_A_TIME: usize = 8;
const CAPACITY: f64 = 800.0;

struct Outcome {
    goodput: f64,
    p99: Duration,
    refused: usize,
}

/// An open loop, at a multiple of the capacity, over a number of connections.
async fn offer(load: f64, connections: usize) -> Outcome {
    const LONG: Duration = Duration::from_secs(5);
    let overloaded = |_: BoxError| Error::new(ErrorKind::Overloaded);
    let stack = ServiceBuilder::new()
        .map_err(overloaded)
        .layer(LoadShedLayer::new())
        .layer(ConcurrencyLimitLayer::new(AT_A_TIME))
        .service(Router::new().route("Work.Do", async || sleep(WORK).await));
    let (clients, _drains): (Vec<_>, Vec<_>) = (0..connections).map(|_| pair(stack.clone())).unzip();
    let start = Instant::now();
    let every = Duration::from_secs_f64(1.0 / (CAPACITY * load));
    let mut calls = Vec::new();
    let mut dice = fastrand::Rng::with_seed(24);
    for n in 0..(LONG.as_secs_f64() / every.as_secs_f64()) as u32 {
        // Not all on the beat.
        sleep_until(start + every * n + every.mul_f64(dice.f64())).await;
        let client = clients[n as usize % clients.len()].clone();
        calls.push(tokio::spawn(async move {
            let begin = Instant::now();
            let outcome = client.call::<()>("Work.Do", &()).await;
            (outcome, begin.elapsed())
        }));
    }
    let (mut took, mut refused) = (Vec::new(), 0);
    for call in calls {
        match call.await.unwrap() {
            (Ok(()), time) => took.push(time),
            (Err(CallError::Failed(error)), time) => {
                assert_eq!(
                    (error.kind(), error.processed()),
                    (ErrorKind::Overloaded, Processed::No),
                    "{error}"
                );
                assert!(time <= Duration::from_millis(2), "a refusal is not waited for: {time:?}");
                refused += 1;
            }
            (Err(error), _) => panic!("{error}"),
        }
    }
    took.sort();
    let goodput = took.len() as f64 / (start.elapsed().as_secs_f64());
    Outcome { goodput, p99: took[took.len() * 99 / 100], refused }
}

#[tokio::test(start_paused = true)]
async fn p24_three_times_too_much_is_shed_politely() {
    for connections in [1, 4] {
        let calm = offer(0.4, connections).await;
        let storm = offer(3.0, connections).await;
        assert!(calm.refused < 100, "{}", calm.refused);
        assert!(storm.goodput >= 0.95 * CAPACITY, "{} of {CAPACITY} a second", storm.goodput);
        assert!(storm.p99 <= calm.p99.mul_f64(1.5), "{:?} after {:?}", storm.p99, calm.p99);
        assert!(storm.refused > 5_000, "{}", storm.refused);
    }
}

// ---- 28: a dropped stream looks like a clean end -------------------------------------------------------

/// How a peer dies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    /// Its socket is closed in good order.
    Fin,
    /// Its half is closed, and it goes on listening.
    Half,
    /// The system says that there is nobody.
    Reset,
}

impl Death {
    const ALL: [Death; 3] = [Death::Fin, Death::Half, Death::Reset];

    /// What has to be kept for the death to be this one.
    async fn of(self, mut stream: TcpStream) -> Option<TcpStream> {
        match self {
            Death::Fin => None,
            Death::Half => {
                stream.shutdown().await.unwrap();
                Some(stream)
            }
            Death::Reset => {
                stream.set_zero_linger().unwrap();
                None
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p28_a_caller_that_dies_in_a_request_never_looks_like_a_whole_one() {
    let gauge = Gauge::default();
    let handler = async |State(gauge): State<Gauge>| {
        let _inside = gauge.enter();
        std::future::pending::<()>().await;
    };
    let router = Router::new()
        .route("A.B", handler)
        .route("A.Seen", async |State(gauge): State<Gauge>| Json(gauge.begun()))
        .with_state(gauge.clone());
    let server = serve(router).await;
    let mut kept = Vec::new();
    for mode in [Mode::Unary, Mode::Async, Mode::OneWay] {
        let frame = request_frame(1, 0, mode, "A.B", "{\"pay\":100}");
        for death in Death::ALL {
            for cut in 0..frame.len() {
                let mut stream = TcpStream::connect(server.address).await.unwrap();
                stream.write_all(&frame[..cut]).await.unwrap();
                kept.extend(death.of(stream).await);
            }
        }
        assert_eq!(gauge.begun(), 0, "{mode:?}");
    }
    // One that asks after all of them have been read.
    let client = Client::connect(server.url()).await.unwrap();
    for _ in 0..50 {
        let begun: usize = soon(client.call("A.Seen", &())).await.unwrap();
        assert_eq!(begun, 0);
        sleep(Duration::from_millis(2)).await;
    }
    // A whole one begins, and is stopped when its caller dies: nobody waits for it.
    for death in Death::ALL {
        let before = gauge.begun();
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&request_frame(1, 0, Mode::Unary, "A.B", "{\"pay\":100}")).await.unwrap();
        until("it has begun", || gauge.begun() == before + 1).await;
        kept.extend(death.of(stream).await);
        until("it has stopped", || gauge.inside() == 0).await;
    }
    drop(kept);
    soon(server.kill()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p28_a_server_that_dies_in_an_answer_never_looks_like_a_whole_one() {
    let len = response_frame(1, "paid: 100").len();
    for death in Death::ALL {
        for cut in 0..=len {
            // One each: a client that has lost its connection comes again at once.
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("mcp://{}", listener.local_addr().unwrap());
            let client = Client::connect_lazy(&url).unwrap();
            let call = tokio::spawn(client.request("A.B").raw("").send::<String>());
            let (mut stream, _) = soon(listener.accept()).await.unwrap();
            let id = read_request(&mut stream).await;
            stream.write_all(&response_frame(id, "paid: 100")[..cut]).await.unwrap();
            if cut == len {
                // Else a reset may overtake it.
                assert_eq!(soon(call).await.unwrap().unwrap(), "paid: 100");
                continue;
            }
            let kept = death.of(stream).await;
            let error = soon(call).await.unwrap().unwrap_err();
            let CallError::Failed(lost) = &error else { panic!("{death:?} at {cut}: {error:?}") };
            let seen = (lost.kind(), lost.processed());
            assert_eq!(seen, (ErrorKind::ConnectionLost, Processed::Unknown), "{death:?} at {cut}");
            drop(kept);
        }
    }
}

#[tokio::test]
async fn p28_an_acknowledged_call_whose_server_dies_is_not_done() {
    for death in Death::ALL {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mcp://{}", listener.local_addr().unwrap());
        let client = Client::connect_lazy(&url).unwrap();
        let call = tokio::spawn(client.request("A.B").raw("").send_async::<String>());
        let (mut stream, _) = soon(listener.accept()).await.unwrap();
        let id = read_request(&mut stream).await;
        let mut ack = Vec::new();
        codec::put_short(&mut ack, kind::ACK, id);
        stream.write_all(&ack).await.unwrap();
        let accepted = soon(call).await.unwrap().unwrap();
        let kept = death.of(stream).await;
        let error = soon(accepted).await.unwrap_err();
        assert_eq!(error.processed(), Processed::Unknown, "{death:?}: {error}");
        assert!(error.code().is_some_and(|code| code == "MCP-E-010"), "{error}");
        drop(kept);
    }
}

#[tokio::test]
async fn p28_a_server_that_is_dropped_has_answered_nothing() {
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("mcp://{}", server.local_addr());
    let gauge = Gauge::default();
    let handler = async |State(gauge): State<Gauge>| {
        let _inside = gauge.enter();
        std::future::pending::<()>().await;
    };
    let serving = tokio::spawn(
        server.serve(Router::new().route("A.B", handler).with_state(gauge.clone())).into_future(),
    );
    let client = Client::connect(&url).await.unwrap();
    let call = tokio::spawn(client.call::<()>("A.B", &()));
    until("it has begun", || gauge.inside() == 1).await;
    serving.abort();
    let error = soon(call).await.unwrap().unwrap_err();
    assert_eq!(error.processed(), Processed::Unknown, "{error}");
}
