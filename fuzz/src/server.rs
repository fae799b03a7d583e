//! A server's connection whose caller is hostile.

use super::{
    memory,
    pipe::Pipe,
    script::Script,
    wire::{Bounded, Seen, frames, output, runtime},
};
use bytes::Bytes;
use std::{
    collections::{HashMap, HashSet},
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tower_service::Service;
use towpath_codec::{FrameHeader, GoAwayReason, Limits, RequestError, decode_request, decode_response, kind};
use towpath_core::{BoxError, Mode, Request, Response};
use towpath_transport::{Drain, ServerConfig, ServerConnection};

const METHODS: [&[u8]; 8] = [b"echo", b"sleep", b"accept", b"never", b"panic", b"fail", b"big", b"\xff"];

/// What a handler sleeps at most.
const NAP: Duration = Duration::from_secs(9);

/// Longer than a drain, a stall and all farewells.
const LONG: Duration = Duration::from_secs(300);

/// Does what the name of the method says.
#[derive(Clone)]
struct Handlers;

impl Service<Request> for Handlers {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(async move {
            let nap = NAP.mul_f32(f32::from(request.body().first().copied().unwrap_or(0)) / 255.0);
            match request.method().as_str() {
                "sleep" => sleep(nap).await,
                "accept" => {
                    request.accept();
                    request.accept();
                    sleep(nap).await;
                }
                "never" => std::future::pending().await,
                "panic" => std::panic::resume_unwind(Box::new("on purpose")),
                "fail" => return Err("something broke".into()),
                "big" => return Ok(Response::new(Bytes::from_static(&[7; 20_000]))),
                _ => {}
            }
            Ok(Response::new(request.into_body()))
        })
    }
}

/// First byte: configuration. The rest is a script.
pub fn check(data: &[u8]) {
    let runtime = runtime();
    // What the pipe keeps of both directions, and its copies; a read has a block.
    memory::within(|| runtime.block_on(run(data)), |moved| (2 << 20) + 64 * data.len() + 12 * moved);
}

fn config(options: u8) -> ServerConfig {
    let mut config = ServerConfig { keep_alive: None, ..ServerConfig::default() };
    if options & 1 != 0 {
        config.max_payload = 2048;
    }
    if options & 2 != 0 {
        config.max_outstanding = 2;
    }
    if options & 4 != 0 {
        (config.max_held, config.max_backlog) = (600, 600);
    }
    if options & 8 != 0 {
        config.keep_alive = Some(Duration::from_secs(20));
    }
    if options & 16 != 0 {
        config.idle_timeout = Some(Duration::from_secs(15));
    }
    config
}

/// Says how many bytes have moved.
async fn run(data: &[u8]) -> usize {
    let mut script = Script::new(data);
    let config = config(script.byte());
    let (pipe, drain) = (Pipe::new(), Drain::new());
    let connection = ServerConnection::new(pipe.clone(), Handlers, &config, drain.watch());
    let mut serving = tokio::spawn(Bounded::new(10_000 + 100 * data.len(), connection));
    let mut caller = Caller::default();
    let mut cut_off = false;
    while !script.is_empty() {
        match script.byte() % 16 {
            op @ 0..=9 => {
                caller.write(op, &mut script);
                if op & 1 == 0 {
                    pipe.feed(&std::mem::take(&mut caller.out), caller.at_once);
                }
            }
            10 => caller.at_once = usize::from(script.u16()) + 1,
            11 => sleep(Duration::from_millis(u64::from(script.u16()))).await,
            12 => {
                pipe.feed(&std::mem::take(&mut caller.out), caller.at_once);
                tokio::task::yield_now().await;
            }
            13 => {
                // A farewell waits for nobody for ever.
                cut_off = true;
                pipe.take_only(match script.byte() {
                    255 => usize::MAX,
                    n => usize::from(n) * 16,
                });
            }
            14 => match script.byte() % 8 {
                0 => pipe.reset(),
                1 | 2 => pipe.end(),
                3 => drain.start(),
                // Everything before this is worked off.
                _ => sleep(NAP).await,
            },
            _ => caller.damage(&mut script),
        }
    }
    pipe.feed(&std::mem::take(&mut caller.out), caller.at_once);
    // Whoever is left works on, as long as it takes.
    let broken = pipe.is_over();
    pipe.take_only(usize::MAX);
    let mut ended = false;
    loop {
        // A connection that has enough in work reads on when some of it is done.
        let before = pipe.is_read();
        ended = ended || is_over(&mut serving, NAP + Duration::from_secs(3)).await;
        if ended || before || !pipe.is_read() {
            break;
        }
    }
    let alive = !ended && !broken && !drain.is_started();
    let (written, fed, read) = (pipe.written(), pipe.fed(), pipe.is_read());
    if !ended {
        // The last word of an honest caller, or the end of any other.
        pipe.feed(&FrameHeader { kind: kind::GOAWAY, len: 17 }.to_bytes(), usize::MAX);
        pipe.feed(&[0; 17], usize::MAX);
        pipe.end();
        ended = is_over(&mut serving, LONG).await;
    }
    if !ended {
        // Only a call that never ends, and has no deadline, keeps a connection.
        pipe.reset();
        drain.start();
        cut_off = true;
        assert!(is_over(&mut serving, LONG).await, "the connection never ends");
    }
    judge(&pipe.written(), &pipe.fed(), &config, cut_off || broken);
    if alive && read {
        complete(&written, &fed, &config);
    }
    pipe.fed().len() + pipe.written_len()
}

async fn is_over(serving: &mut JoinHandle<()>, within: Duration) -> bool {
    match timeout(within, serving).await {
        Ok(ended) => {
            ended.expect("the connection panicked");
            true
        }
        Err(_) => false,
    }
}

/// Makes frames, of which some are good.
struct Caller {
    out: Vec<u8>,
    at_once: usize,
    last: u64,
}

impl Default for Caller {
    fn default() -> Self {
        Caller { out: Vec::new(), at_once: usize::MAX, last: 0 }
    }
}

impl Caller {
    fn frame(&mut self, kind: u8, payload: &[u8]) {
        self.out.extend_from_slice(&FrameHeader { kind, len: payload.len() as u32 }.to_bytes());
        self.out.extend_from_slice(payload);
    }

    fn write(&mut self, op: u8, script: &mut Script<'_>) {
        match op {
            0..=3 => self.request(script),
            4 => {
                let kind = script.of(&[
                    kind::CANCEL,
                    kind::CANCEL,
                    kind::PING,
                    kind::PONG,
                    kind::ACK,
                    kind::RESPONSE,
                ]);
                let id = self.last.wrapping_sub(u64::from(script.byte()) >> 3);
                self.frame(kind, &id.to_be_bytes());
            }
            5 => {
                let mut pairs = vec![0; 8];
                let count = usize::from(script.byte() % 4) * 6;
                pairs.extend_from_slice(script.take(count));
                self.frame(kind::SETTINGS, &pairs);
            }
            6 => {
                let n = usize::from(script.byte() & 31);
                self.frame(kind::GOAWAY, script.take(n));
            }
            7 => {
                // Any type, any payload.
                let (kind, n) = (script.byte(), usize::from(script.byte()));
                self.frame(kind, script.take(n));
            }
            8 => {
                // A length, and not so many bytes.
                let (kind, len, n) = (script.byte(), script.u32(), usize::from(script.u16()));
                self.out.extend_from_slice(&FrameHeader { kind, len }.to_bytes());
                self.out.resize(self.out.len() + n.min(40_000), 0);
            }
            _ => {
                let n = usize::from(script.byte());
                self.out.extend_from_slice(script.take(n));
            }
        }
    }

    fn request(&mut self, script: &mut Script<'_>) {
        let shape = script.byte();
        self.last = match shape & 7 {
            0 => self.last.wrapping_sub(1),
            1 => self.last,
            n => self.last.wrapping_add(u64::from(n) - 1),
        };
        let method = METHODS[usize::from(shape >> 3 & 7)];
        let mut payload = self.last.to_be_bytes().to_vec();
        let timeout_ms = if shape & 0x40 != 0 { u32::from(script.u16()) } else { 0 };
        payload.extend_from_slice(&timeout_ms.to_be_bytes());
        payload.push(script.byte());
        payload.push(if shape & 0x80 != 0 { script.byte() } else { 0 });
        let extra = script.byte();
        payload.extend_from_slice(&(method.len() as u16 + u16::from(extra == 255)).to_be_bytes());
        let metadata = script.take(if extra & 1 != 0 { usize::from(extra >> 1 & 31) } else { 0 });
        payload.extend_from_slice(&(metadata.len() as u32).to_be_bytes());
        payload.extend_from_slice(method);
        payload.extend_from_slice(metadata);
        let body = usize::from(script.byte());
        if body >= 250 {
            payload.resize(payload.len() + body * 100, 1);
        } else {
            payload.extend_from_slice(script.take(body & 15));
        }
        self.frame(kind::REQUEST, &payload);
    }

    /// Other bytes in what is not sent yet.
    fn damage(&mut self, script: &mut Script<'_>) {
        let (at, byte) = (usize::from(script.u16()), script.byte());
        if !self.out.is_empty() {
            let at = at % self.out.len();
            self.out[at] = byte;
        }
    }
}

/// A call, as the bytes say it.
struct Asked {
    mode: Option<Mode>,
    never: bool,
}

/// The calls of a stream up to the first violation, those that were cancelled, and the PINGs.
fn read(fed: &[u8], config: &ServerConfig) -> (HashMap<u64, Asked>, HashSet<u64>, Vec<u64>) {
    let (mut asked, mut cancelled, mut pings, mut last) = (HashMap::new(), HashSet::new(), Vec::new(), 0);
    for frame in frames(fed, config.max_payload).0 {
        let Seen { kind, payload } = frame;
        match kind {
            kind::REQUEST => {
                if frame.id() <= last {
                    break;
                }
                last = frame.id();
                let limits = Limits { max_metadata: config.max_metadata, ..Limits::default() };
                let call = match decode_request(Bytes::copy_from_slice(payload), &limits) {
                    Ok(call) => Asked {
                        mode: Some(call.request.mode()),
                        never: call.request.method() == "never" && !(1..9000).contains(&call.timeout_ms),
                    },
                    Err(RequestError::Malformed { .. }) => Asked { mode: None, never: false },
                    Err(RequestError::NoId) => break,
                };
                asked.insert(last, call);
            }
            kind::CANCEL => drop(cancelled.insert(frame.id())),
            kind::PING => pings.push(frame.id()),
            _ => {}
        }
    }
    (asked, cancelled, pings)
}

const CALLEE: [u8; 7] =
    [kind::RESPONSE, kind::ACK, kind::PUSH, kind::PING, kind::PONG, kind::GOAWAY, kind::SETTINGS];

/// Whatever came in: what goes out is in order.
fn judge(written: &[u8], fed: &[u8], config: &ServerConfig, cut_off: bool) {
    let (asked, _, mut pings) = read(fed, config);
    let (mut answered, mut acked, mut over) = (HashSet::new(), HashSet::new(), false);
    for (kind, id, payload) in output(written, &CALLEE, cut_off) {
        assert!(!over, "{} after the last word", kind::name(kind));
        match kind {
            kind::ACK => {
                assert_eq!(asked.get(&id).and_then(|call| call.mode), Some(Mode::Async), "ACK {id}");
                assert!(acked.insert(id) && !answered.contains(&id), "ACK {id} twice, or too late");
            }
            kind::RESPONSE | kind::PUSH => {
                let call = asked.get(&id).unwrap_or_else(|| panic!("an answer to {id}, which was not sent"));
                assert!(answered.insert(id), "a second answer to {id}");
                assert_eq!(kind == kind::PUSH, acked.contains(&id), "{} {id}", kind::name(kind));
                assert_ne!(call.mode, Some(Mode::OneWay), "an answer to a one-way call");
                let (_, answer) = decode_response(Bytes::from(payload)).expect("a whole answer");
                assert!(call.mode.is_some() || answer.is_fault(), "a malformed call went well");
            }
            kind::PONG => {
                let at = pings.iter().position(|ping| *ping == id).expect("a PONG without a PING");
                pings.remove(at);
            }
            kind::GOAWAY => {
                let goaway = towpath_codec::decode_goaway(&payload).expect("a whole GOAWAY");
                over = goaway.reason != GoAwayReason::Draining;
                assert!(goaway.last_id == 0 || asked.contains_key(&goaway.last_id));
            }
            _ => {}
        }
    }
}

/// Nothing was cut off, and there was time enough: every call that wants an answer has one.
fn complete(written: &[u8], fed: &[u8], config: &ServerConfig) {
    let (asked, cancelled, pings) = read(fed, config);
    let out = output(written, &CALLEE, true);
    for (id, call) in asked {
        let answered = out.iter().any(|(k, of, _)| [kind::RESPONSE, kind::PUSH].contains(k) && *of == id);
        let wanted = call.mode != Some(Mode::OneWay) && !call.never && !cancelled.contains(&id);
        assert!(answered || !wanted, "no answer to {id} ({:?})", call.mode);
    }
    let pongs = out.iter().filter(|(k, ..)| *k == kind::PONG).count();
    assert_eq!(pongs, pings.len(), "every PING has its PONG");
}
