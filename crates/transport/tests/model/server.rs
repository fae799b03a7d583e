//! The callee's side.

use super::{Wire, cases, frame, runtime};
use bytes::Bytes;
use proptest::prelude::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::Instant};
use tower::service_fn;
use towpath_codec::{Frame, GoAway, GoAwayReason, kind};
use towpath_core::{BoxError, CodecId, Context, Fault, Mode, Request, Response};
use towpath_transport::{Drain, ServerConfig, ServerConnection};

/// A handler's own time is odd, all others are even: no two things happen at the same moment, but for those
/// that the page has an order for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    Echo,
    /// For so long.
    Sleep(u64),
    /// Accepts, and sleeps.
    Accept(u64),
    Never,
    Panic,
    Fault,
}

#[derive(Clone, Debug)]
enum Event {
    Call {
        mode: Mode,
        work: Work,
        timeout_ms: u32,
        gap: u64,
    },
    Malformed,
    Cancel(usize),
    Ping(u64),
    Extension,
    Pass(u64),
    /// The server is told to drain.
    Drain,
    /// The caller makes no more calls.
    Done,
    OldId,
    WrongSide,
    Cut,
}

const LIMIT: u32 = 3;
const DRAIN: Duration = Duration::from_millis(400);

struct Call {
    id: u64,
    mode: Mode,
    accepted: bool,
    done_at: Option<Instant>,
    late_at: Option<Instant>,
    /// What it says in the end.
    says: &'static str,
}

/// What is written: type, id or reason, and the code of a fault.
type Line = (u8, u64, String);

#[derive(Default)]
struct Model {
    /// In work.
    calls: Vec<Call>,
    last: u64,
    drain_until: Option<Instant>,
    caller_done: bool,
    over: bool,
    out: Vec<Line>,
}

impl Model {
    fn say(&mut self, kind: u8, id: u64, code: &str) {
        self.out.push((kind, id, code.to_owned()));
    }

    fn answer(&mut self, call: &Call, code: &str) {
        match call.mode {
            Mode::OneWay => {}
            Mode::Async if call.accepted => self.say(kind::PUSH, call.id, code),
            // A result is proof of the acceptance, a fault before it a refusal.
            Mode::Async if code.is_empty() => {
                self.say(kind::ACK, call.id, "");
                self.say(kind::PUSH, call.id, "");
            }
            _ => self.say(kind::RESPONSE, call.id, code),
        }
    }

    fn call(&mut self, id: u64, mode: Mode, work: Work, timeout_ms: u32, now: Instant) {
        self.last = id;
        let (sleep, says) = match work {
            Work::Echo => (Some(0), ""),
            Work::Sleep(ms) | Work::Accept(ms) => (Some(ms), ""),
            Work::Never => (None, ""),
            Work::Panic => (Some(0), "MCP-E-009"),
            Work::Fault => (Some(0), "ORD-E-102"),
        };
        let after = |ms: u64| now + Duration::from_millis(ms);
        let late_at = (timeout_ms > 0).then(|| after(timeout_ms.into()));
        let mut call = Call { id, mode, accepted: false, done_at: sleep.map(after), late_at, says };
        if self.drain_until.is_some() {
            return self.answer(&call, "MCP-W-108");
        }
        if self.calls.len() >= LIMIT as usize {
            return self.answer(&call, "MCP-W-103");
        }
        if mode == Mode::Async && matches!(work, Work::Accept(_)) {
            call.accepted = true;
            self.say(kind::ACK, id, "");
        }
        if sleep == Some(0) {
            return self.answer(&call, says);
        }
        self.calls.push(call);
    }

    /// Everything whose time has come.
    fn pass(&mut self, now: Instant) {
        while let Some(at) =
            self.calls.iter().position(|call| call.next() <= Some(now) && call.next().is_some())
        {
            let call = self.calls.remove(at);
            let late = call.done_at.is_none_or(|done| call.late_at.is_some_and(|late| late < done));
            self.answer(&call, if late { "MCP-W-101" } else { call.says });
        }
        if self.drain_until.is_some_and(|until| until <= now) {
            for call in std::mem::take(&mut self.calls) {
                self.answer(&call, if call.accepted { "MCP-W-108" } else { "MCP-W-102" });
            }
        }
        self.rest();
    }

    /// When nothing is in work and nothing can come, that is the end.
    fn rest(&mut self) {
        self.over |= (self.caller_done || self.drain_until.is_some()) && self.calls.is_empty();
    }

    fn drain(&mut self, now: Instant) {
        if !self.over && self.drain_until.is_none() {
            self.drain_until = Some(now + DRAIN);
            self.say(kind::GOAWAY, 0, "");
        }
    }

    fn violation(&mut self) {
        self.say(kind::GOAWAY, 4, "");
        self.calls.clear();
        self.over = true;
    }

    fn next(&self) -> Option<Instant> {
        self.calls.iter().filter_map(Call::next).chain(self.drain_until).min()
    }
}

impl Call {
    fn next(&self) -> Option<Instant> {
        self.done_at.into_iter().chain(self.late_at).min()
    }
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

async fn work(request: Request, running: Arc<AtomicUsize>) -> Result<Response, BoxError> {
    running.fetch_add(1, SeqCst);
    let _running = Running(running);
    let (name, ms) = request.method().as_str().split_once('.').unwrap();
    let nap = tokio::time::sleep(Duration::from_millis(ms.parse().unwrap()));
    match name {
        "sleep" => nap.await,
        "accept" => {
            // To say it twice is to say it once.
            request.accept();
            request.accept();
            nap.await;
        }
        "never" => std::future::pending().await,
        "panic" => std::panic::resume_unwind(Box::new("on purpose")),
        "fault" => return Ok(Fault::new("ORD-E-102".parse::<towpath_core::ErrorCode>()?, "no").into()),
        _ => {}
    }
    Ok(Response::new(request.into_body()))
}

struct Real {
    wire: Wire,
    serving: JoinHandle<()>,
    drain: Drain,
    running: Arc<AtomicUsize>,
    ids: Vec<u64>,
}

impl Real {
    fn new() -> Self {
        let config = ServerConfig {
            keep_alive: None,
            max_outstanding: LIMIT,
            drain_timeout: DRAIN,
            ..ServerConfig::default()
        };
        let (near, far) = tokio::io::duplex(1 << 20);
        let (drain, running) = (Drain::new(), Arc::new(AtomicUsize::new(0)));
        let seen = running.clone();
        let service = service_fn(move |request| work(request, seen.clone()));
        let serving = tokio::spawn(ServerConnection::new(near, service, &config, drain.watch()));
        Real { wire: Wire::new(far), serving, drain, running, ids: Vec::new() }
    }

    async fn settle(&mut self) {
        let (serving, running) = (&self.serving, &self.running);
        self.wire.settle(|| usize::from(serving.is_finished()) + 2 * running.load(SeqCst)).await;
    }

    fn lines(&mut self) -> Vec<Line> {
        let line = |(kind, payload): (u8, Vec<u8>)| {
            let id = towpath_codec::id(&payload).unwrap();
            match kind {
                kind::RESPONSE | kind::PUSH => {
                    let (_, response) = towpath_codec::decode_response(payload.into()).unwrap();
                    let code = Fault::from_response(&response).map(|fault| fault.code().to_string());
                    assert_eq!(response.is_fault(), code.is_ok());
                    (kind, id, code.unwrap_or_default())
                }
                kind::GOAWAY => {
                    let goaway = towpath_codec::decode_goaway(&payload).unwrap();
                    (kind, goaway.reason.code().into(), String::new())
                }
                _ => (kind, id, String::new()),
            }
        };
        self.wire.frames().into_iter().map(line).collect()
    }
}

fn request(id: u64, mode: Mode, work: Work, timeout_ms: u32) -> Vec<u8> {
    let method = match work {
        Work::Echo => "echo.0".to_owned(),
        Work::Sleep(ms) => format!("sleep.{ms}"),
        Work::Accept(ms) => format!("accept.{ms}"),
        Work::Never => "never.0".to_owned(),
        Work::Panic => "panic.0".to_owned(),
        Work::Fault => "fault.0".to_owned(),
    };
    let mut request = Request::with_context(method, Context::new(), Bytes::from_static(b"body"));
    request.set_mode(mode);
    request.set_codec(CodecId::JSON);
    frame(kind::REQUEST, &Frame::request(id, timeout_ms, &request).unwrap().payload)
}

fn compare(real: &mut Real, model: &mut Model) {
    let (mut got, mut want) = (real.lines(), std::mem::take(&mut model.out));
    if real.wire.io.is_some() {
        let order = |lines: &[Line], id: u64| -> Vec<u8> {
            lines
                .iter()
                .filter(|(kind, of, _)| *of == id && *kind != kind::PONG)
                .map(|(kind, ..)| *kind)
                .collect()
        };
        for (_, id, _) in &want {
            assert_eq!(order(&got, *id), order(&want, *id), "the order for {id}");
        }
        got.sort();
        want.sort();
        assert_eq!(got, want);
        assert_eq!(real.wire.over, model.over, "whether it has ended");
    }
    assert_eq!(real.running.load(SeqCst), model.calls.len(), "handlers that run");
}

async fn run(events: &[Event]) {
    let (mut real, mut model) = (Real::new(), Model::default());
    // Its limits are not the protocol's.
    model.say(kind::SETTINGS, 0, "");
    real.settle().await;
    compare(&mut real, &mut model);
    for event in events {
        let now = Instant::now();
        // To a connection that has ended nobody listens.
        let alive = !model.over;
        match event {
            Event::Call { mode, work, timeout_ms, gap } => {
                let id = real.ids.last().unwrap_or(&0) + gap;
                real.ids.push(id);
                real.wire.send(&request(id, *mode, *work, *timeout_ms)).await;
                if alive {
                    model.call(id, *mode, *work, *timeout_ms, now);
                }
            }
            Event::Malformed => {
                let id = real.ids.last().unwrap_or(&0) + 1;
                real.ids.push(id);
                real.wire.send(&frame(kind::REQUEST, &id.to_be_bytes())).await;
                if alive {
                    model.last = id;
                    model.say(kind::RESPONSE, id, "MCP-E-001");
                }
            }
            Event::Cancel(place) => {
                if let Some(id) = real.ids.get(place % real.ids.len().max(1)).copied() {
                    real.wire.send(&frame(kind::CANCEL, &id.to_be_bytes())).await;
                    model.calls.retain(|call| call.id != id);
                }
            }
            Event::Ping(id) => {
                real.wire.send(&frame(kind::PING, &id.to_be_bytes())).await;
                if alive {
                    model.say(kind::PONG, *id, "");
                }
            }
            Event::Extension => real.wire.send(&frame(0xc0, b"what")).await,
            Event::Pass(ms) => {
                let until = now + Duration::from_millis(*ms);
                while let Some(next) = model.next().filter(|next| *next < until && !model.over) {
                    tokio::time::sleep_until(next).await;
                    model.pass(next);
                    real.settle().await;
                    compare(&mut real, &mut model);
                }
                tokio::time::sleep_until(until).await;
                if !model.over {
                    model.pass(until);
                }
            }
            Event::Drain => {
                real.drain.start();
                model.drain(now);
            }
            Event::Done => {
                let goaway = GoAway { reason: GoAwayReason::Draining, last_id: 0, text: String::new() };
                real.wire.send(&frame(kind::GOAWAY, &Frame::goaway(&goaway).payload)).await;
                model.caller_done |= alive;
            }
            Event::OldId if real.ids.is_empty() => {}
            Event::OldId => {
                real.wire.send(&request(real.ids[0], Mode::Unary, Work::Echo, 0)).await;
                if alive {
                    model.violation();
                }
            }
            Event::WrongSide => {
                real.wire.send(&frame(kind::ACK, &1u64.to_be_bytes())).await;
                if alive {
                    model.violation();
                }
            }
            // It may close its half then, and still wait for its answers: that it does not is seen when one
            // is written.
            Event::Cut if model.caller_done => {}
            Event::Cut => {
                real.wire.cut();
                model.calls.clear();
                model.over = true;
            }
        }
        model.rest();
        real.settle().await;
        compare(&mut real, &mut model);
    }
    // No handler runs for nobody, and the connection ends.
    if model.caller_done && !model.over {
        real.drain.start();
        model.drain(Instant::now());
        while let Some(next) = model.next().filter(|_| !model.over) {
            tokio::time::sleep_until(next).await;
            model.pass(next);
            real.settle().await;
            compare(&mut real, &mut model);
        }
    }
    real.wire.cut();
    model.calls.clear();
    real.settle().await;
    compare(&mut real, &mut model);
    tokio::time::timeout(Duration::from_secs(10), &mut real.serving).await.unwrap().unwrap();
}

fn event() -> impl Strategy<Value = Event> {
    let mode = prop_oneof![3 => Just(Mode::Unary), 2 => Just(Mode::Async), 1 => Just(Mode::OneWay)];
    let odd = (0u64..150).prop_map(|half| 2 * half + 1);
    let work = prop_oneof![
        2 => Just(Work::Echo),
        3 => odd.clone().prop_map(Work::Sleep),
        3 => odd.prop_map(Work::Accept),
        1 => Just(Work::Never),
        1 => Just(Work::Panic),
        1 => Just(Work::Fault),
    ];
    let timeout = prop_oneof![Just(0), (1u32..150).prop_map(|half| 2 * half)];
    prop_oneof![
        12 => (mode, work, timeout, 1u64..3)
            .prop_map(|(mode, work, timeout_ms, gap)| Event::Call { mode, work, timeout_ms, gap }),
        1 => Just(Event::Malformed),
        3 => (0usize..20).prop_map(Event::Cancel),
        1 => any::<u64>().prop_map(Event::Ping),
        1 => Just(Event::Extension),
        5 => (0u64..80).prop_map(|half| Event::Pass(2 * half)),
        1 => Just(Event::Drain),
        1 => Just(Event::Done),
        1 => prop_oneof![Just(Event::OldId), Just(Event::WrongSide), Just(Event::Cut)],
    ]
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_callee_is_as_the_page_says(
        events in proptest::collection::vec(event(), 1..40),
        mild in any::<bool>(),
    ) {
        // Every other case lives longer.
        let gentle = |event: &&Event| {
            matches!(event, Event::Call { .. } | Event::Malformed | Event::Cancel(_) | Event::Ping(_))
                || matches!(event, Event::Extension | Event::Pass(_))
        };
        let events: Vec<Event> = events.iter().filter(|event| !mild || gentle(event)).cloned().collect();
        runtime().block_on(run(&events));
    }
}
