//! The caller's side.

use super::{Wire, cases, frame, runtime};
use bytes::Bytes;
use proptest::prelude::*;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::JoinHandle, time::Instant};
use tower::Service;
use towpath_codec::{Frame, GoAway, GoAwayReason, Limits, Settings, kind};
use towpath_core::{Context, Error, ErrorKind, Fault, Mode, Processed, Request, Response, Status};
use towpath_transport::{ClientConfig, Connection, Outcome};

#[derive(Clone, Copy, Debug)]
enum Said {
    Ok,
    AppFault,
    /// MCP-W-103: not processed.
    Overloaded,
    /// MCP-E-009: nobody knows.
    Failed,
    /// MCP-W-108: not processed; after an ACK, nobody knows.
    Draining,
    Malformed,
}

/// What the callee sends. A call is named by its place among those that were sent.
#[derive(Clone, Debug)]
enum From {
    Response(usize, Said),
    Push(usize, Said),
    Ack(usize),
    /// For an id that is none.
    Stranger(u64),
    Ping(u64),
    Pong(u64),
    Extension,
    Limit(u32),
    MaxPayload(u32),
    GoAway(u8, Option<usize>),
}

#[derive(Clone, Debug)]
enum Event {
    Call {
        mode: Mode,
        deadline: Option<u64>,
        body: usize,
    },
    Drop(usize),
    /// All in one piece.
    Frames(Vec<From>),
    Pass(u64),
    Close,
    Cut,
}

/// How a call ends: the body, or a fault of an application, or the kind of an error and whether it was
/// processed.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Ok(Vec<u8>),
    Fault,
    Err(ErrorKind, Processed),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Line,
    Sent,
    Accepted,
    Done,
    Dropped,
}

struct Call {
    mode: Mode,
    deadline: Option<Instant>,
    size: usize,
    at: At,
    id: u64,
    end: Option<End>,
}

/// The page, in a few rules.
struct Model {
    calls: Vec<Call>,
    line: VecDeque<usize>,
    /// In the order in which they were sent.
    sent: Vec<usize>,
    own_limit: usize,
    limit: usize,
    max_payload: usize,
    /// What new calls are told.
    closed: Option<ErrorKind>,
    over: bool,
    /// What has to be on the wire since the last look. REQUESTs by number of the call, with what is left.
    requests: Vec<(usize, u32)>,
    cancels: Vec<u64>,
    pongs: Vec<u64>,
}

impl Model {
    fn outstanding(&self) -> usize {
        self.calls.iter().filter(|call| matches!(call.at, At::Sent | At::Accepted)).count()
    }

    fn finish(&mut self, n: usize, end: End) {
        let call = &mut self.calls[n];
        (call.at, call.end) = (At::Done, Some(end));
    }

    fn call(&mut self, mode: Mode, deadline: Option<Instant>, size: usize, now: Instant) {
        let n = self.calls.len();
        self.calls.push(Call { mode, deadline, size, at: At::Line, id: 0, end: None });
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.finish(n, End::Err(ErrorKind::DeadlineExceeded, Processed::No));
        } else if let Some(kind) = self.closed {
            self.finish(n, End::Err(kind, Processed::No));
        } else {
            self.line.push_back(n);
        }
        self.go_on(now);
    }

    /// Those in line go, in order, while there is room.
    fn go_on(&mut self, now: Instant) {
        while !self.over && self.outstanding() < self.limit {
            let Some(n) = self.line.pop_front() else { break };
            if self.calls[n].at != At::Line {
                continue;
            }
            if self.calls[n].size > self.max_payload {
                self.finish(n, End::Err(ErrorKind::TooLarge, Processed::No));
                continue;
            }
            let left = self.calls[n]
                .deadline
                .map_or(0, |deadline| (deadline - now).as_micros().div_ceil(1000) as u32);
            self.requests.push((n, left));
            self.sent.push(n);
            self.calls[n].at = At::Sent;
            if self.calls[n].mode == Mode::OneWay {
                self.finish(n, End::Ok(Vec::new()));
            }
        }
        // Nobody can call, and nobody waits: the last word.
        let idle = self.outstanding() == 0 && self.line.iter().all(|n| self.calls[*n].at != At::Line);
        self.over |= self.closed.is_some() && idle;
    }

    fn answer(&mut self, place: usize, said: Said, push: bool) {
        let Some(n) = pick(&self.sent, place) else { return };
        let call = &mut self.calls[n];
        let is_async = call.mode == Mode::Async;
        if !matches!(call.at, At::Sent | At::Accepted) || (push && !is_async) {
            return;
        }
        if push {
            call.at = At::Accepted;
        }
        let accepted = call.at == At::Accepted;
        self.finish(n, end(said, n, accepted));
    }

    fn frame(&mut self, from: &From, ids: &[u64]) {
        match from {
            From::Response(place, said) => self.answer(*place, *said, false),
            From::Push(place, said) => self.answer(*place, *said, true),
            From::Ack(place) => {
                if let Some(n) = pick(&self.sent, *place) {
                    let call = &mut self.calls[n];
                    if call.mode == Mode::Async && call.at == At::Sent {
                        call.at = At::Accepted;
                    }
                }
            }
            From::Ping(id) => self.pongs.push(*id),
            From::Limit(max) => self.limit = self.own_limit.min(*max as usize).max(1),
            From::MaxPayload(max) => self.max_payload = *max as usize,
            From::GoAway(reason, last) => {
                let kind = match reason {
                    1 | 2 => ErrorKind::Version,
                    3 => ErrorKind::TooLarge,
                    4 | 5 => ErrorKind::Malformed,
                    7 => ErrorKind::Unauthenticated,
                    _ => ErrorKind::Draining,
                };
                let last = last_id(*last, ids);
                for n in 0..self.calls.len() {
                    let call = &self.calls[n];
                    let begun = matches!(call.at, At::Sent | At::Accepted) && call.id <= last;
                    if !begun && !matches!(call.at, At::Done | At::Dropped) {
                        // What was accepted has begun, whatever the last id says.
                        let accepted = call.at == At::Accepted;
                        let processed = if accepted { Processed::Unknown } else { Processed::No };
                        self.finish(n, End::Err(kind, processed));
                    }
                }
                self.closed.get_or_insert(kind);
            }
            From::Stranger(_) | From::Pong(_) | From::Extension => {}
        }
    }

    fn drop_call(&mut self, place: usize) {
        if self.calls.is_empty() {
            return;
        }
        let n = place % self.calls.len();
        let call = &mut self.calls[n];
        match call.at {
            At::Done | At::Dropped => return,
            At::Sent | At::Accepted => self.cancels.push(call.id),
            At::Line => {}
        }
        call.at = At::Dropped;
    }

    fn expire(&mut self, now: Instant) {
        for n in 0..self.calls.len() {
            let call = &self.calls[n];
            if call.deadline.is_none_or(|deadline| deadline > now) {
                continue;
            }
            match call.at {
                At::Line => self.finish(n, End::Err(ErrorKind::DeadlineExceeded, Processed::No)),
                At::Sent | At::Accepted => {
                    self.cancels.push(call.id);
                    self.finish(n, End::Err(ErrorKind::DeadlineExceeded, Processed::Unknown));
                }
                At::Done | At::Dropped => {}
            }
        }
    }

    fn cut(&mut self) {
        for n in 0..self.calls.len() {
            let processed = match self.calls[n].at {
                At::Line => Processed::No,
                At::Sent | At::Accepted => Processed::Unknown,
                At::Done | At::Dropped => continue,
            };
            self.finish(n, End::Err(ErrorKind::ConnectionLost, processed));
        }
        self.closed.get_or_insert(ErrorKind::ConnectionLost);
        self.over = true;
    }

    /// When something happens next by itself.
    fn next_deadline(&self) -> Option<Instant> {
        let waiting = self.calls.iter().filter(|call| !matches!(call.at, At::Done | At::Dropped));
        waiting.filter_map(|call| call.deadline).min()
    }
}

fn pick(sent: &[usize], place: usize) -> Option<usize> {
    (!sent.is_empty()).then(|| sent[place % sent.len()])
}

fn last_id(place: Option<usize>, ids: &[u64]) -> u64 {
    place.map_or(0, |place| if ids.is_empty() { 0 } else { ids[place % ids.len()] })
}

fn end(said: Said, n: usize, accepted: bool) -> End {
    match said {
        Said::Ok => End::Ok(vec![n as u8]),
        Said::AppFault => End::Fault,
        Said::Overloaded => End::Err(ErrorKind::Overloaded, Processed::No),
        Said::Failed => End::Err(ErrorKind::HandlerFailed, Processed::Unknown),
        Said::Draining if accepted => End::Err(ErrorKind::Draining, Processed::Unknown),
        Said::Draining => End::Err(ErrorKind::Draining, Processed::No),
        Said::Malformed => End::Err(ErrorKind::Malformed, Processed::Unknown),
    }
}

fn response(said: Said, n: usize) -> Response {
    let fault =
        |code: &str| Response::from(Fault::new(code.parse::<towpath_core::ErrorCode>().unwrap(), "said"));
    match said {
        Said::Ok | Said::Malformed => Response::new(Bytes::from(vec![n as u8])),
        Said::AppFault => fault("ORD-E-102"),
        Said::Overloaded => fault("MCP-W-103"),
        Said::Failed => fault("MCP-E-009"),
        Said::Draining => fault("MCP-W-108"),
    }
}

fn written(from: &From, sent: &[usize], ids: &[u64]) -> Vec<u8> {
    let (kind, payload) = match from {
        From::Response(place, said) | From::Push(place, said) => {
            let kind = if matches!(from, From::Push(..)) { kind::PUSH } else { kind::RESPONSE };
            let Some(n) = pick(sent, *place) else { return Vec::new() };
            let frame = Frame::response(kind, ids[place % ids.len()], &response(*said, n)).unwrap();
            let mut payload = frame.payload.to_vec();
            if let Said::Malformed = said {
                payload[8] = 9;
            }
            (kind, payload)
        }
        From::Ack(place) => match pick(sent, *place) {
            Some(_) => (kind::ACK, ids[place % ids.len()].to_be_bytes().to_vec()),
            None => return Vec::new(),
        },
        From::Stranger(id) => {
            let frame = Frame::response(kind::RESPONSE, *id, &response(Said::Ok, 0)).unwrap();
            (kind::RESPONSE, frame.payload.to_vec())
        }
        From::Ping(id) => (kind::PING, id.to_be_bytes().to_vec()),
        From::Pong(id) => (kind::PONG, id.to_be_bytes().to_vec()),
        From::Extension => (0x80, vec![1, 2, 3]),
        From::Limit(max) => {
            let settings = Settings { max_outstanding: Some(*max), ..Settings::default() };
            (kind::SETTINGS, Frame::settings(&settings).payload.to_vec())
        }
        From::MaxPayload(max) => {
            let settings = Settings { max_payload: Some(*max), ..Settings::default() };
            (kind::SETTINGS, Frame::settings(&settings).payload.to_vec())
        }
        From::GoAway(reason, last) => {
            let reason = GoAwayReason::from_code(*reason);
            let goaway = GoAway { reason, last_id: last_id(*last, ids), text: String::new() };
            (kind::GOAWAY, Frame::goaway(&goaway).payload.to_vec())
        }
    };
    frame(kind, &payload)
}

type Ends = Arc<Mutex<Vec<Option<End>>>>;

struct Real {
    connection: Connection,
    driver: JoinHandle<Result<(), Error>>,
    wire: Wire,
    tasks: Vec<JoinHandle<()>>,
    ends: Ends,
    /// In the order in which they were on the wire.
    ids: Vec<u64>,
}

impl Real {
    fn new(limit: u32) -> Self {
        let config = ClientConfig { keep_alive: None, max_outstanding: limit, ..ClientConfig::default() };
        let (near, far) = tokio::io::duplex(1 << 20);
        let (connection, driver) = Connection::new(near, "model", &config).unwrap();
        let (tasks, ids) = (Vec::new(), Vec::new());
        let driver = tokio::spawn(driver);
        Real { connection, driver, wire: Wire::new(far), tasks, ends: Ends::default(), ids }
    }

    fn call(&mut self, mode: Mode, deadline: Option<Instant>, body: usize) {
        let n = self.tasks.len();
        let mut context = Context::new();
        context.set_deadline(deadline);
        let mut request = Request::with_context("M.M", context, Bytes::from(vec![n as u8; body]));
        request.set_mode(mode);
        let (call, ends) = ((&self.connection).call(request), self.ends.clone());
        ends.lock().unwrap().push(None);
        self.tasks.push(tokio::spawn(async move {
            let mut result = call.await;
            if let Some(outcome) = result.as_ref().ok().and_then(Outcome::take) {
                result = outcome.await;
            }
            let end = match result {
                Ok(response) if response.status() == Status::Fault => End::Fault,
                Ok(response) => End::Ok(response.into_body().to_vec()),
                Err(error) => End::Err(error.kind(), error.processed()),
            };
            assert!(ends.lock().unwrap()[n].replace(end).is_none());
        }));
    }

    async fn settle(&mut self) {
        let (tasks, driver) = (&self.tasks, &self.driver);
        let done =
            || tasks.iter().filter(|task| task.is_finished()).count() + usize::from(driver.is_finished());
        self.wire.settle(done).await;
    }
}

/// What is there is what should be.
fn compare(real: &mut Real, model: &mut Model, now: Instant) {
    let (mut requests, mut cancels, mut pongs, mut last_words) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (kind, payload) in real.wire.frames() {
        let id = towpath_codec::id(&payload).unwrap();
        assert_eq!(last_words, 0, "nothing follows the GOAWAY");
        match kind {
            kind::REQUEST => {
                let decoded = towpath_codec::decode_request(payload.into(), &Limits::default()).unwrap();
                assert!(real.ids.last().is_none_or(|last| id > *last), "ids grow");
                let n = usize::from(decoded.request.body()[0]);
                assert_eq!(decoded.request.mode(), model.calls[n].mode);
                real.ids.push(id);
                model.calls[n].id = id;
                requests.push((n, decoded.timeout_ms));
            }
            kind::CANCEL => cancels.push(id),
            kind::PONG => pongs.push(id),
            kind::GOAWAY => {
                last_words += 1;
                let goaway = towpath_codec::decode_goaway(&payload).unwrap();
                assert_eq!((goaway.reason, goaway.last_id), (GoAwayReason::Draining, 0));
            }
            other => panic!("{} from a caller", kind::name(other)),
        }
    }
    let was_cut = real.wire.io.is_none();
    if !was_cut {
        cancels.sort_unstable();
        model.cancels.sort_unstable();
        assert_eq!(requests, model.requests, "REQUESTs");
        assert_eq!(cancels, model.cancels, "CANCELs");
        assert_eq!(pongs, model.pongs, "PONGs");
        assert_eq!(real.wire.over, model.over, "whether it has ended");
    }
    (model.requests, model.cancels, model.pongs) = Default::default();
    for (n, (call, end)) in model.calls.iter().zip(real.ends.lock().unwrap().iter()).enumerate() {
        let want = if call.at == At::Dropped { &None } else { &call.end };
        assert_eq!(end, want, "call {n} at {now:?}");
    }
    assert_eq!(real.connection.outstanding(), model.outstanding(), "outstanding");
    assert_eq!(real.connection.is_closed(), model.closed.is_some(), "closed");
}

async fn run(limit: u32, events: &[Event]) {
    let mut real = Real::new(limit);
    let limit = limit as usize;
    let mut model = Model {
        calls: Vec::new(),
        line: VecDeque::new(),
        sent: Vec::new(),
        own_limit: limit,
        limit,
        max_payload: 16 << 20,
        closed: None,
        over: false,
        requests: Vec::new(),
        cancels: Vec::new(),
        pongs: Vec::new(),
    };
    real.settle().await;
    for event in events {
        let now = Instant::now();
        match event {
            Event::Call { mode, deadline, body } => {
                // Not a whole number of milliseconds: what is left is rounded up, and a timer rings at the next one.
                let deadline =
                    deadline.map(|ms| now + Duration::from_micros((1000 * ms).saturating_sub(300)));
                real.call(*mode, deadline, *body);
                model.call(*mode, deadline, 23 + body, now);
            }
            Event::Drop(place) => {
                if let Some(task) = pick(&(0..real.tasks.len()).collect::<Vec<_>>(), *place) {
                    real.tasks[task].abort();
                }
                model.drop_call(*place);
                model.go_on(now);
            }
            Event::Frames(frames) => {
                let bytes: Vec<u8> =
                    frames.iter().flat_map(|from| written(from, &model.sent, &real.ids)).collect();
                if !model.over {
                    frames.iter().for_each(|from| model.frame(from, &real.ids));
                    model.go_on(now);
                }
                real.wire.send(&bytes).await;
            }
            Event::Pass(ms) => {
                // Stop wherever somebody's time is up, to see that it is up then and not later.
                let until = now + Duration::from_millis(*ms);
                while let Some(next) = model.next_deadline().filter(|next| *next < until) {
                    tokio::time::sleep_until(next).await;
                    let next = Instant::now();
                    model.expire(next);
                    model.go_on(next);
                    real.settle().await;
                    compare(&mut real, &mut model, next);
                }
                tokio::time::sleep_until(until).await;
                model.expire(until);
                model.go_on(until);
            }
            Event::Close => {
                real.connection.close();
                model.closed.get_or_insert(ErrorKind::Draining);
                model.go_on(now);
            }
            Event::Cut => {
                real.wire.cut();
                model.cut();
            }
        }
        real.settle().await;
        compare(&mut real, &mut model, now);
    }
    // Whatever was left: nobody waits for ever, and the driver ends.
    real.wire.cut();
    model.cut();
    real.settle().await;
    compare(&mut real, &mut model, Instant::now());
    tokio::time::timeout(Duration::from_secs(10), &mut real.driver).await.unwrap().unwrap().ok();
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        6 => Just(Said::Ok),
        1 => Just(Said::AppFault),
        1 => Just(Said::Overloaded),
        1 => Just(Said::Failed),
        1 => Just(Said::Draining),
        1 => Just(Said::Malformed),
    ]
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        8 => (0usize..12, said()).prop_map(|(place, said)| From::Response(place, said)),
        3 => (0usize..12, said()).prop_map(|(place, said)| From::Push(place, said)),
        3 => (0usize..12).prop_map(From::Ack),
        1 => (1u64..5).prop_map(From::Stranger),
        1 => any::<u64>().prop_map(From::Ping),
        1 => any::<u64>().prop_map(From::Pong),
        1 => Just(From::Extension),
        2 => (0u32..6).prop_map(From::Limit),
        1 => prop_oneof![Just(24u32), Just(60), Just(16 << 20)].prop_map(From::MaxPayload),
        1 => (0u8..9, proptest::option::of(0usize..12)).prop_map(|(reason, last)| From::GoAway(reason, last)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let mode = prop_oneof![3 => Just(Mode::Unary), 2 => Just(Mode::Async), 1 => Just(Mode::OneWay)];
    let call = (mode, proptest::option::weighted(0.4, 0u64..300), 1usize..50);
    prop_oneof![
        10 => call.prop_map(|(mode, deadline, body)| Event::Call { mode, deadline, body }),
        2 => (0usize..20).prop_map(Event::Drop),
        8 => proptest::collection::vec(from(), 1..4).prop_map(Event::Frames),
        3 => (0u64..200).prop_map(Event::Pass),
        1 => Just(Event::Close).boxed(),
        1 => Just(Event::Cut).boxed(),
    ]
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_caller_is_as_the_page_says(
        limit in 1u32..5,
        events in proptest::collection::vec(event(), 1..40),
        mild in any::<bool>(),
    ) {
        // Every other case lives longer.
        let gentle = |event: &&Event| match event {
            Event::Cut | Event::Close => false,
            Event::Frames(frames) => !frames.iter().any(|from| matches!(from, From::GoAway(..))),
            _ => true,
        };
        let events: Vec<Event> = events.iter().filter(|event| !mild || gentle(event)).cloned().collect();
        runtime().block_on(run(limit, &events));
    }
}
