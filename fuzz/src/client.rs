//! A client's connection whose callee is hostile.

use super::{
    memory,
    pipe::Pipe,
    script::Script,
    wire::{Bounded, frames, output, runtime},
};
use bytes::Bytes;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tower_service::Service;
use towpath_codec::{FrameHeader, Limits, decode_request, decode_response, kind};
use towpath_core::{Context, Error, Mode, Request, Response};
use towpath_transport::{ClientConfig, Connection, Outcome};

/// Longer than a farewell, and than keep-alive takes to give up.
const LONG: Duration = Duration::from_secs(300);

/// First byte: configuration. The rest is a script.
pub fn check(data: &[u8]) {
    let runtime = runtime();
    // What the pipe keeps of both directions, and its copies; a read has a block, a call a task.
    memory::within(|| runtime.block_on(run(data)), |moved| (2 << 20) + 2048 * data.len() + 12 * moved);
}

fn config(options: u8) -> ClientConfig {
    let mut config = ClientConfig { keep_alive: None, ..ClientConfig::default() };
    if options & 1 != 0 {
        config.max_payload = 2048;
    }
    if options & 2 != 0 {
        config.max_outstanding = 2;
    }
    if options & 4 != 0 {
        config.max_buffered = 300;
    }
    if options & 8 != 0 {
        config.keep_alive = Some(Duration::from_secs(20));
    }
    config
}

type Ended = Arc<Mutex<Vec<Option<Result<Response, Error>>>>>;

struct Call {
    mode: Mode,
    deadline: Option<Instant>,
    task: JoinHandle<()>,
    dropped: bool,
}

struct Calls {
    connection: Connection,
    all: Vec<Call>,
    ended: Ended,
}

/// Says how many bytes have moved.
async fn run(data: &[u8]) -> usize {
    let mut script = Script::new(data);
    let config = config(script.byte());
    let pipe = Pipe::new();
    let (connection, driver) = Connection::new(pipe.clone(), "fuzz", &config).expect("a valid configuration");
    let mut driving = tokio::spawn(Bounded::new(10_000 + 200 * data.len(), driver));
    let mut calls = Calls { connection, all: Vec::new(), ended: Ended::default() };
    let mut cut_off = config.keep_alive.is_some();
    let (mut callee, mut asked_ping) = (Callee::default(), false);
    while !script.is_empty() {
        match script.byte() % 16 {
            0..=3 => calls.make(&mut script),
            4 => calls.give_up(&mut script),
            op @ 5..=9 => {
                callee.write(op, &mut script, &pipe);
                if op != 9 {
                    pipe.feed(&std::mem::take(&mut callee.out), callee.at_once);
                    tokio::task::yield_now().await;
                }
            }
            10 => callee.at_once = usize::from(script.u16()) + 1,
            11 => sleep(Duration::from_millis(u64::from(script.u16()))).await,
            12 => tokio::task::yield_now().await,
            13 => {
                // A farewell waits for nobody for ever.
                cut_off = true;
                pipe.take_only(match script.byte() {
                    255 => usize::MAX,
                    n => usize::from(n) * 16,
                });
            }
            14 => match script.byte() % 16 {
                0 => pipe.reset(),
                1 => pipe.end(),
                2 => calls.connection.close(),
                3 => {
                    cut_off = true;
                    driving.abort();
                }
                4 | 5 => {
                    asked_ping = true;
                    let ping = calls.connection.ping();
                    tokio::spawn(async move { drop(timeout(LONG, ping).await) });
                }
                _ => sleep(Duration::from_secs(5)).await,
            },
            _ => callee.damage(&mut script),
        }
    }
    pipe.feed(&std::mem::take(&mut callee.out), callee.at_once);
    pipe.take_only(usize::MAX);
    sleep(Duration::from_secs(70)).await;
    calls.deadlines_are_kept();
    // Either the peer goes, or the last caller does.
    let by_peer = calls.all.len().is_multiple_of(2);
    if by_peer {
        pipe.end();
    }
    cut_off |= pipe.is_over();
    let Calls { connection, all, ended } = calls;
    if by_peer {
        sleep(LONG).await;
        assert!(connection.is_closed(), "the peer has gone");
        assert_eq!(connection.outstanding(), 0);
    } else {
        all.iter().for_each(|call| call.task.abort());
    }
    drop(connection);
    let driven = timeout(LONG, &mut driving).await.expect("the driver never ends");
    if let Err(error) = driven {
        assert!(error.is_cancelled(), "the driver panicked: {error}");
    }
    let (written, fed) = (pipe.written(), pipe.fed());
    for (call, ended) in all.iter().zip(ended.lock().expect("no panic holds it").iter()) {
        assert!(call.task.is_finished(), "a call never ends");
        assert!(ended.is_some() || call.dropped || !by_peer, "a call has ended without an outcome");
    }
    judge(&written, &fed, &config, &all, &ended, asked_ping, cut_off);
    fed.len() + written.len()
}

impl Calls {
    fn make(&mut self, script: &mut Script<'_>) {
        let shape = script.byte();
        let number = self.all.len();
        // The body says which call it is.
        let mut body = (number as u32).to_be_bytes().to_vec();
        body.resize(4 + [0, 0, 30, 400, 9000][usize::from(shape >> 5) % 5], 0);
        let mut context = Context::new();
        if shape & 4 != 0 {
            context.set_deadline(Some(Instant::now() + Duration::from_millis(script.u16().into())));
        }
        let deadline = context.deadline();
        let mut request = Request::with_context("Fuzz.Fuzz", context, Bytes::from(body));
        let mode = [Mode::Unary, Mode::Async, Mode::Unary, Mode::OneWay][usize::from(shape & 3)];
        request.set_mode(mode);
        let mut connection = self.connection.clone();
        let (ended, polls) = (self.ended.clone(), usize::from(shape >> 3 & 3));
        ended.lock().expect("no panic holds it").push(None);
        let call = Bounded::new(2000, async move {
            // Some are made and looked at later.
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
            let called = connection.call(request);
            drop(connection);
            let mut result = called.await;
            if let Some(outcome) = result.as_ref().ok().and_then(Outcome::take) {
                result = outcome.await;
            }
            let before = ended.lock().expect("no panic holds it")[number].replace(result);
            assert!(before.is_none(), "a call ends twice");
        });
        self.all.push(Call { mode, deadline, task: tokio::spawn(call), dropped: false });
    }

    fn give_up(&mut self, script: &mut Script<'_>) {
        let at = usize::from(script.byte());
        if !self.all.is_empty() {
            let at = at % self.all.len();
            self.all[at].task.abort();
            self.all[at].dropped = true;
        }
    }

    /// None of them waits longer than it said, by more than a look around takes.
    fn deadlines_are_kept(&self) {
        let now = Instant::now();
        for call in &self.all {
            let due = call.deadline.is_some_and(|deadline| deadline + Duration::from_secs(1) < now);
            assert!(!due || call.task.is_finished(), "a call waits longer than its deadline");
        }
    }
}

/// Makes frames, of which some are answers.
struct Callee {
    out: Vec<u8>,
    at_once: usize,
    /// In the body of each answer: no two are the same.
    serial: u32,
}

impl Default for Callee {
    fn default() -> Self {
        Callee { out: Vec::new(), at_once: usize::MAX, serial: 0 }
    }
}

impl Callee {
    fn frame(&mut self, kind: u8, payload: &[u8]) {
        self.out.extend_from_slice(&FrameHeader { kind, len: payload.len() as u32 }.to_bytes());
        self.out.extend_from_slice(payload);
    }

    fn write(&mut self, op: u8, script: &mut Script<'_>, pipe: &Pipe) {
        match op {
            5..=7 => {
                let shape = script.byte();
                let asked = asked(&pipe.written());
                // One of the calls that were sent; or one that may be, or has never been.
                let id = match asked.get(usize::from(script.byte()) % asked.len().max(1)) {
                    Some((id, _)) if shape & 0x70 != 0x70 => *id,
                    _ => u64::from(script.byte()) << 20 | u64::from(script.byte() & 3),
                };
                let kind = [kind::RESPONSE, kind::RESPONSE, kind::ACK, kind::PUSH][usize::from(shape & 3)];
                let mut payload = id.to_be_bytes().to_vec();
                if kind != kind::ACK {
                    self.serial += 1;
                    // A fault whose body is none is the application's, and so an answer.
                    let status = if shape & 0x0c == 0x0c { script.byte() & 3 } else { 0 };
                    payload.extend_from_slice(&[status, 0, 0, 0, 0, 0, 0, 0]);
                    payload.extend_from_slice(&self.serial.to_be_bytes());
                    if shape & 0x80 != 0 {
                        payload.resize(payload.len() + usize::from(script.u16()), 0);
                    }
                }
                self.frame(kind, &payload);
            }
            8 => match script.byte() % 8 {
                0 => {
                    let mut payload = vec![0; 9];
                    payload[8] = script.byte() & 7;
                    let asked = asked(&pipe.written());
                    let at = usize::from(script.byte());
                    let last = asked.get(at).map_or(u64::from(script.byte()) << 20, |(id, _)| *id);
                    payload.extend_from_slice(&last.to_be_bytes());
                    self.frame(kind::GOAWAY, &payload);
                }
                1 | 2 => {
                    let key = script.of(&[1u16, 2, 3, 4, 5, 6]);
                    let value = if script.byte() & 1 == 0 { u32::from(script.byte()) } else { script.u32() };
                    let mut payload = vec![0; 8];
                    payload.extend_from_slice(&key.to_be_bytes());
                    payload.extend_from_slice(&value.to_be_bytes());
                    self.frame(kind::SETTINGS, &payload);
                }
                3 | 4 => {
                    let (kind, id) = (script.of(&[kind::PING, kind::PONG, kind::PING]), script.byte());
                    self.frame(kind, &u64::from(id).to_be_bytes());
                }
                5 => {
                    // A length, and not so many bytes.
                    let (kind, len, n) = (script.byte(), script.u32(), usize::from(script.u16()));
                    self.out.extend_from_slice(&FrameHeader { kind, len }.to_bytes());
                    self.out.resize(self.out.len() + n.min(40_000), 0);
                }
                _ => {
                    let (kind, n) = (script.byte(), usize::from(script.byte() & 63));
                    self.frame(kind, script.take(n));
                }
            },
            _ => {
                let n = usize::from(script.byte() & 63);
                self.out.extend_from_slice(script.take(n));
            }
        }
    }

    fn damage(&mut self, script: &mut Script<'_>) {
        let (at, byte) = (usize::from(script.u16()), script.byte());
        if !self.out.is_empty() {
            let at = at % self.out.len();
            self.out[at] = byte;
        }
    }
}

/// Which id stands for which call, in the order in which they were sent.
fn asked(written: &[u8]) -> Vec<(u64, usize)> {
    let (frames, _) = frames(written, u32::MAX);
    let number = |payload: &[u8]| {
        let decoded =
            decode_request(Bytes::copy_from_slice(payload), &Limits::default()).expect("a good REQUEST");
        let number = decoded.request.body().first_chunk::<4>().expect("the number of its call");
        (decoded.id, u32::from_be_bytes(*number) as usize)
    };
    frames.iter().filter(|frame| frame.kind == kind::REQUEST).map(|frame| number(frame.payload)).collect()
}

const CALLER: [u8; 6] = [kind::REQUEST, kind::CANCEL, kind::PING, kind::PONG, kind::GOAWAY, kind::SETTINGS];

/// Whatever came in: what went out is in order, and an answer is from a frame for its call.
fn judge(
    written: &[u8],
    fed: &[u8],
    config: &ClientConfig,
    calls: &[Call],
    ended: &Ended,
    asked_ping: bool,
    cut_off: bool,
) {
    let asked = asked(written);
    let ids: HashMap<usize, u64> = asked.iter().map(|(id, number)| (*number, *id)).collect();
    assert_eq!(ids.len(), asked.len(), "a call is sent once");
    let (mut last, mut cancelled, mut pings, mut over) = (0, HashSet::new(), HashSet::new(), false);
    let (received, _) = frames(fed, config.max_payload);
    for (kind, id, payload) in output(written, &CALLER, cut_off) {
        assert!(!over, "{} after the last word", kind::name(kind));
        match kind {
            kind::REQUEST => {
                assert!(id > last, "id {id} after {last}");
                last = id;
            }
            kind::CANCEL => {
                assert!(
                    asked.iter().any(|(of, _)| *of == id) && id <= last,
                    "CANCEL {id}, which was not sent"
                );
                assert!(cancelled.insert(id), "CANCEL {id} twice");
            }
            kind::PING => assert!(pings.insert(id) && (asked_ping || config.keep_alive.is_some())),
            kind::PONG => assert!(received.iter().any(|f| f.kind == kind::PING && f.id() == id)),
            kind::GOAWAY => {
                over = true;
                assert_eq!(towpath_codec::decode_goaway(&payload).expect("a whole GOAWAY").last_id, 0);
            }
            _ => {}
        }
    }
    for (number, result) in ended.lock().expect("no panic holds it").iter().enumerate() {
        let Some(Ok(response)) = result else { continue };
        let call = &calls[number];
        // A frame that the peer has not taken whole can be answered only by guessing.
        let id = ids.get(&number);
        assert!(id.is_some() || cut_off, "call {number} has an answer and was not sent");
        if call.mode == Mode::OneWay && response.body().is_empty() {
            continue;
        }
        let from = received.iter().filter(|frame| match call.mode {
            Mode::Async => [kind::RESPONSE, kind::PUSH].contains(&frame.kind),
            _ => frame.kind == kind::RESPONSE,
        });
        let from = from.filter(|frame| id.is_none_or(|id| frame.id() == *id)).any(|frame| {
            let decoded = decode_response(Bytes::copy_from_slice(frame.payload));
            decoded.is_ok_and(|(_, answer)| {
                answer.body() == response.body() && answer.status() == response.status()
            })
        });
        assert!(from, "call {number} has an answer that nobody gave to {id:?}");
    }
}
