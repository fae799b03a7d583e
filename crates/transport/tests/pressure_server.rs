//! The server's side when it is full, its peer slow or strange, and its handlers ill-behaved.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::*;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};
use tower::{Service, service_fn};
use towpath_codec::{GoAway, GoAwayReason, HEADER_LEN, kind};
use towpath_core::{BoxError, CodecId, Fault, Request, Response};
use towpath_transport::{ClientConfig, Drain, Server, ServerConfig, ServerConnection};

const HOUR: Duration = Duration::from_secs(3600);

/// Less than the time after which a full connection looks by itself whether it still is.
const AT_ONCE: Duration = Duration::from_secs(4);

/// Lets the connection take in what was just sent to it.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// As `sleep`, with metadata that fill a connection that may hold 10 kB.
fn filling(millis: &'static str) -> Request {
    let mut request = request("sleep", millis);
    request.metadata_mut().insert("pad", "x".repeat(20_000).as_str()).unwrap();
    request
}

fn soon_full() -> ServerConfig {
    ServerConfig { max_held: 10_000, ..Default::default() }
}

async fn expect_fault(peer: &mut Peer, id: u64, code: &str) -> (Fault, CodecId) {
    let (got, response) = peer.expect_response().await;
    let fault = Fault::from_response(&response).unwrap();
    assert_eq!((got, fault.code().as_str()), (id, code), "{fault}");
    (fault, response.codec())
}

#[tokio::test(start_paused = true)]
async fn it_reads_again_when_its_answers_are_taken() {
    let config = ServerConfig { max_backlog: 4096, keep_alive: None, ..Default::default() };
    let (mut peer, _drain, _, _) = server_over(32 * 1024, &config);
    // In one read more answers than the pipe takes and the backlog allows.
    let body = Bytes::from(vec![b'x'; 7000]);
    let bytes: Vec<u8> =
        (1..=5).flat_map(|id| request_frame(id, 0, &Request::new("echo", body.clone()))).collect();
    let (mut read, mut write) = tokio::io::split(peer.io);
    let sending = tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write
    });
    sleep(Duration::from_millis(10)).await;
    let mut answers = vec![0; 5 * (HEADER_LEN + 16 + 7000)];
    timeout(AT_ONCE, read.read_exact(&mut answers)).await.expect("all answers").unwrap();
    peer = Peer { io: read.unsplit(sending.await.unwrap()) };
    sleep(Duration::from_millis(10)).await;
    peer.request(6, &request("echo", "six")).await;
    let (id, _) = timeout(AT_ONCE, peer.expect_response()).await.expect("it reads again");
    assert_eq!(id, 6);
}

#[tokio::test]
async fn it_reads_again_over_tcp() {
    const CALLS: usize = 64;
    const BODY: usize = 64 << 10;
    // Small buffers of the system, so that little fills them.
    let socket = || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(32 << 10).unwrap();
        socket.set_recv_buffer_size(32 << 10).unwrap();
        socket
    };
    let listening = socket();
    listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = ServerConfig { max_backlog: 256 << 10, keep_alive: None, ..Default::default() };
    let server = Server::from_listener(listening.listen(8).unwrap(), config).unwrap();
    let address = server.local_addr().unwrap();
    let seen = Seen::default();
    let service = {
        let seen = seen.clone();
        service_fn(move |request: Request| handle(request, seen.clone()))
    };
    tokio::spawn(server.serve(service).into_future());
    let (mut read, mut write) = socket().connect(address).await.unwrap().into_split();
    let sending = tokio::spawn(async move {
        let body = Bytes::from(vec![b'x'; BODY]);
        for id in 1..=CALLS as u64 {
            write.write_all(&request_frame(id, 0, &Request::new("echo", body.clone()))).await.unwrap();
        }
        write
    });
    // Until it stands still.
    let mut begun = usize::MAX;
    while seen.begun() != begun || begun == 0 {
        begun = seen.begun();
        sleep(Duration::from_millis(50)).await;
    }
    assert!(begun < CALLS, "nothing held it back");
    let mut answers = vec![0; CALLS * (HEADER_LEN + 16 + BODY)];
    let all = timeout(AT_ONCE, read.read_exact(&mut answers)).await;
    all.expect("no request lies unread").unwrap();
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_a_full_server_does_not_read_is_no_stall() {
    let (mut peer, _drain, _, _) = server(&soon_full());
    peer.request(1, &filling("40000")).await;
    let second = request_frame(2, 0, &Request::new("echo", Bytes::from(vec![b'y'; 200_000])));
    // Half of it, and then the rest: from now on it is the server that does not read.
    peer.send(&second[..100_000]).await;
    settle().await;
    peer.send(&second[100_000..]).await;
    let (mut answers, mut signs, start) = (0, 0, Instant::now());
    while answers < 2 {
        match timeout(HOUR, peer.next()).await.unwrap().expect("a frame, not the end") {
            (kind::PING, _) => signs += 1,
            (_, payload) => {
                assert!(!towpath_codec::decode_response(payload).unwrap().1.is_fault());
                answers += 1;
            }
        }
    }
    assert_eq!(start.elapsed().as_secs(), 39, "it was full all the time");
    assert!(signs >= 4, "{signs} signs of life in 40 s of silence");
}

#[tokio::test(start_paused = true)]
async fn a_caller_does_not_give_up_a_server_that_is_full() {
    let (mut connection, _drain, _) = pair_over(PIPE, &ClientConfig::default(), &soon_full());
    let answer = connection.call(filling("30000")).await;
    answer.expect("a call of 30 s on a connection that lives");
    assert!(!connection.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_full_server_does_not_give_up_its_caller() {
    // With signs of life that it does read, and with those that it cannot.
    for interval in [60, 7] {
        let config = ServerConfig { keep_alive: Some(Duration::from_secs(interval)), ..soon_full() };
        let (mut peer, _drain, _, _) = server(&config);
        peer.request(1, &filling("200000")).await;
        loop {
            match peer.next().await.expect("every PING was answered") {
                (kind::PING, value) => peer.frame(kind::PONG, value).await,
                (kind::RESPONSE, _) => break,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_server_gives_up_a_peer_that_takes_nothing() {
    // Full by answers that nobody reads: signs of life are no way out of that.
    let config = ServerConfig { max_backlog: 4096, ..Default::default() };
    let (mut peer, _drain, _, serving) = server_over(16 << 10, &config);
    let start = Instant::now();
    peer.request(1, &Request::new("echo", Bytes::from(vec![0; 64 << 10]))).await;
    timeout(HOUR, serving).await.expect("it ends").unwrap();
    assert!((30..=36).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn times_that_no_clock_can_hold_are_refused_or_taken_as_a_year() {
    let fine = ServerConfig::default;
    let (soon, max) = (Duration::from_millis(5), Duration::MAX);
    for (field, config) in [
        ("stall_timeout", ServerConfig { stall_timeout: max, ..fine() }),
        ("keep_alive", ServerConfig { keep_alive: Some(max), ..fine() }),
        ("keep_alive_timeout", ServerConfig { keep_alive_timeout: max, keep_alive: Some(soon), ..fine() }),
        ("idle_timeout", ServerConfig { idle_timeout: Some(max), ..fine() }),
        ("drain_timeout", ServerConfig { drain_timeout: max, ..fine() }),
    ] {
        let error = config.validate().unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
        assert!(Server::bind("127.0.0.1:0", config.clone()).await.is_err());

        // A connection does not check; it lives through all that would look at the time.
        let (mut peer, drain, _, serving) = server(&config);
        peer.request(1, &request("sleep", "10")).await;
        let half = request_frame(2, 0, &request("echo", "x"));
        peer.send(&half[..12]).await;
        while peer.next().await.expect("a frame, not the end").0 != kind::RESPONSE {}
        drain.start();
        settle().await;
        if serving.is_finished() {
            serving.await.expect("no panic");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn idle_time_counts_from_the_last_answer() {
    let config = ServerConfig { idle_timeout: Some(Duration::from_secs(10)), ..Default::default() };
    let (mut peer, _drain, _, _) = server(&config);
    peer.expect(kind::SETTINGS).await;
    peer.request(1, &request("sleep", "9900")).await;
    peer.expect_response().await;
    let start = Instant::now();
    assert_eq!(peer.expect_goaway().await.reason, GoAwayReason::Idle);
    assert!((9900..=10_100).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_call_counts_from_its_header() {
    let (mut peer, _drain, seen, _) = server(&ServerConfig::default());
    let late = request_frame(1, 1000, &request("echo", "late"));
    // With the header alone, and in the middle of what follows.
    for (id, cut) in [(1u8, HEADER_LEN), (2, 20)] {
        let mut late = late.clone();
        late[HEADER_LEN + 7] = id;
        peer.send(&late[..cut]).await;
        sleep(Duration::from_millis(1500)).await;
        peer.send(&late[cut..]).await;
        let (fault, _) = expect_fault(&mut peer, id.into(), "MCP-W-101").await;
        assert!(fault.not_processed());
    }
    assert_eq!(seen.begun(), 0, "late work is not begun");

    // In time, it has what is left.
    let start = Instant::now();
    let frame = request_frame(3, 1000, &request("sleep", "60000"));
    peer.send(&frame[..HEADER_LEN]).await;
    sleep(Duration::from_millis(600)).await;
    peer.send(&frame[HEADER_LEN..]).await;
    let (fault, _) = expect_fault(&mut peer, 3, "MCP-W-101").await;
    assert!(!fault.not_processed());
    assert!((1000..1010).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("in Display");
    }
}

impl std::error::Error for Unspeakable {}

#[tokio::test(start_paused = true)]
async fn an_error_that_panics_when_it_is_shown_is_an_answer() {
    let (near, far) = tokio::io::duplex(PIPE);
    let service = service_fn(|request: Request| async move {
        if request.method().as_str() == "late" {
            sleep(Duration::from_millis(1)).await;
        }
        Err::<Response, BoxError>(Box::new(Unspeakable))
    });
    let drain = Drain::new();
    tokio::spawn(ServerConnection::new(near, service, &ServerConfig::default(), drain.watch()));
    let mut peer = Peer { io: far };
    for (id, method) in [(1, "late"), (2, "at once"), (3, "late")] {
        peer.request(id, &request(method, "")).await;
        let (fault, _) = timeout(HOUR, expect_fault(&mut peer, id, "MCP-E-009")).await.expect("answered");
        assert!(!fault.not_processed() && !fault.message().contains("in Display"));
    }
}

/// The kind of the answer to a call on a new connection.
async fn first_word(stream: &mut TcpStream) -> u8 {
    // A server that sends it away may have closed its half before this.
    let _ = stream.write_all(&request_frame(1, 0, &request("echo", "x"))).await;
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head).await.unwrap();
    head[3]
}

#[tokio::test]
async fn connections_that_are_sent_away_do_not_count_as_open() {
    let config = ServerConfig { max_connections: 1, ..Default::default() };
    let server = Server::bind("127.0.0.1:0", config).await.unwrap();
    let address = server.local_addr().unwrap();
    let service = service_fn(|request: Request| handle(request, Seen::default()));
    tokio::spawn(server.serve(service).into_future());
    let mut open = TcpStream::connect(address).await.unwrap();
    assert_eq!(first_word(&mut open).await, kind::RESPONSE);
    // It is told so, and does not go for a while.
    let mut sent_away = TcpStream::connect(address).await.unwrap();
    assert_eq!(sent_away.read_u32().await.unwrap().to_be_bytes()[3], kind::GOAWAY);
    drop(open);
    let served = async {
        loop {
            let mut next = TcpStream::connect(address).await.unwrap();
            if first_word(&mut next).await == kind::RESPONSE {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_millis(500), served).await.expect("nobody else is served");
    drop(sent_away);
}

#[tokio::test(start_paused = true)]
async fn a_finished_answer_is_sent_although_a_violation_was_read_with_it() {
    let (near, far) = tokio::io::duplex(PIPE);
    let (mut read, write) = tokio::io::split(far);
    let write = Arc::new(tokio::sync::Mutex::new(write));
    let service = {
        let write = write.clone();
        service_fn(move |_: Request| {
            let write = write.clone();
            async move {
                // Makes the violation and the answer wake the connection together.
                sleep(Duration::from_millis(5)).await;
                write.lock().await.write_all(&frame(0x0a, b"violation")).await.unwrap();
                Ok::<_, BoxError>(Response::default())
            }
        })
    };
    let drain = Drain::new();
    tokio::spawn(ServerConnection::new(near, service, &ServerConfig::default(), drain.watch()));
    write.lock().await.write_all(&request_frame(1, 0, &request("x", ""))).await.unwrap();
    let mut said = Vec::new();
    read.read_to_end(&mut said).await.unwrap();
    assert_eq!(said[3], kind::RESPONSE, "not {}", kind::name(said[3]));
    let behind = HEADER_LEN + u32::from_be_bytes(said[4..8].try_into().unwrap()) as usize;
    assert_eq!(said[behind + 3], kind::GOAWAY);
}

#[tokio::test(start_paused = true)]
async fn many_deadlines_all_come_and_none_early() {
    let (mut peer, _drain, seen, _) = server(&ServerConfig::default());
    let start = Instant::now();
    let after = |id: u64| 100 + id * 1009 % 2000;
    for id in 1..=2000u64 {
        peer.send(request_frame(id, after(id) as u32, &request("sleep", "60000"))).await;
    }
    for _ in 1..=2000 {
        let (id, response) = peer.expect_response().await;
        let fault = Fault::from_response(&response).unwrap();
        assert_eq!(fault.code().as_str(), "MCP-W-101");
        let came = start.elapsed().as_millis() as u64;
        assert!((after(id)..after(id) + 5).contains(&came), "{came} ms instead of {}", after(id));
    }
    until("nothing runs", || seen.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_closed_its_half_is_not_asked_for_life() {
    let (mut peer, _drain, _, _) = server(&ServerConfig::default());
    peer.request(1, &request("sleep", "100000")).await;
    peer.goaway(&GoAway { reason: GoAwayReason::Draining, last_id: 0, text: String::new() }).await;
    peer.io.shutdown().await.unwrap();
    assert_eq!(peer.expect_response().await.0, 1);
    assert!(peer.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_kept_pins_little_more_than_itself() {
    let (near, far) = tokio::io::duplex(PIPE);
    let alone = Arc::new(AtomicUsize::new(0));
    let service = {
        let alone = alone.clone();
        service_fn(move |request: Request| {
            let alone = alone.clone();
            async move {
                let body = request.into_body();
                let len = body.len();
                // Kept aside, while the connection reads on.
                sleep(Duration::from_secs(1)).await;
                if len < 16 << 10 {
                    // Memory that nothing else is in, and not much of it.
                    let memory = body.try_into_mut().expect("its memory is its own").capacity();
                    assert!(memory <= 4 * len, "{len} bytes keep {memory}");
                    alone.fetch_add(1, SeqCst);
                }
                Ok::<_, BoxError>(Response::default())
            }
        })
    };
    let drain = Drain::new();
    tokio::spawn(ServerConnection::new(near, service, &ServerConfig::default(), drain.watch()));
    let mut peer = Peer { io: far };
    let bytes: Vec<u8> = [600, 62_000, 5000, 62_000, 15_000, 1000]
        .into_iter()
        .zip(1..)
        .flat_map(|(size, id)| request_frame(id, 0, &Request::new("hold", Bytes::from(vec![b'x'; size]))))
        .collect();
    peer.send(bytes).await;
    for _ in 0..6 {
        assert!(!peer.expect_response().await.1.is_fault());
    }
    assert_eq!(alone.load(SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_steady_slow_upload_is_taken() {
    let (mut peer, _drain, _, _) = server(&ServerConfig::default());
    let size = 10_000_000;
    let mut upload = Request::new("upload", Bytes::from(vec![b'x'; size]));
    upload.set_codec(CodecId::RAW);
    let bytes = request_frame(1, 0, &upload);
    let start = Instant::now();
    for tenth in bytes.chunks(25_000) {
        peer.send(tenth).await;
        sleep(Duration::from_millis(100)).await;
    }
    assert!(start.elapsed() >= Duration::from_secs(40));
    let mut answer = vec![0; HEADER_LEN + 16 + size];
    timeout(HOUR, peer.io.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(answer[3], kind::RESPONSE);
}

#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_is_no_progress() {
    let (mut peer, _drain, _, serving) = server(&ServerConfig::default());
    let bytes = request_frame(1, 0, &request("echo", "a small one that never is whole"));
    peer.send(&bytes[..10]).await;
    let start = Instant::now();
    let mut rest = bytes[10..].iter();
    while let Err(_still_open) = timeout(Duration::from_secs(5), peer.next()).await {
        peer.send([*rest.next().unwrap()]).await;
    }
    assert_eq!(start.elapsed().as_secs(), 30);
    drop(peer);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_malformed_protobuf_request_gets_a_protobuf_fault() {
    let (mut peer, _drain, seen, _) = server(&ServerConfig::default());
    let mut wrong = request("echo", "x");
    wrong.set_codec(CodecId::PROTOBUF);
    let mut bytes = request_frame(1, 0, &wrong);
    assert_eq!(bytes[HEADER_LEN + 12], 2, "the codec");
    // A method longer than the frame.
    bytes[HEADER_LEN + 14..][..2].copy_from_slice(&999u16.to_be_bytes());
    peer.send(bytes).await;
    let (fault, codec) = expect_fault(&mut peer, 1, "MCP-E-001").await;
    assert_eq!(codec, CodecId::PROTOBUF);
    assert!(fault.not_processed() && fault.trace_id().is_some());
    assert_eq!(seen.begun(), 0);
    peer.request(2, &request("echo", "alive")).await;
    assert_eq!(peer.expect_response().await.0, 2);
}
