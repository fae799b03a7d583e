//! The one task of a connection: it reads, lets the service work, and writes the answers.

use super::{
    answer,
    call::{Aside, CallFuture, Place, panicked},
    drain::DrainWatch,
    shared::{Call, Shared},
};
use crate::{
    alarm::Alarm,
    config::ServerConfig,
    farewell::Farewell,
    out::OutQueue,
    reader::{FrameReader, Next},
};
use bytes::Bytes;
use std::{
    fmt,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{self, Poll, Waker, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tower_service::Service;
use towpath_codec::{
    ControlError, DecodedRequest, FrameError, GoAway, GoAwayReason, Limits, RequestError, Settings, kind,
};
use towpath_core::{
    Acceptance, BoxError, CodecId, Context, Error, ErrorKind, Mode, Processed, Request, Response,
    context::{self, Scope},
};

/// Serves one connection; a future to be spawned or awaited. It ends with the connection.
///
/// Each call is polled once where it is read: what is done at once needs no task and no allocation. A call
/// that is pending then goes on in a task of its own, and stops when its caller cancels it, when its
/// deadline passes, or when the connection ends.
///
/// Dropping it closes the connection and stops its calls.
#[must_use = "a connection is not served unless this is polled"]
pub struct ServerConnection<T, S: Service<Request>> {
    io: T,
    /// The one that is called. It is replaced by a clone of `origin` when it panics.
    service: S,
    origin: S,
    place: Place<S>,
    shared: Arc<Shared>,
    reader: FrameReader,
    writing: OutQueue,
    config: ServerConfig,
    drain: DrainWatch,
    alarm: Alarm,
    /// The largest payload that the peer takes.
    peer_max_payload: u32,
    /// At least as many calls as are in work aside; exact after each write.
    outstanding: usize,
    /// The highest call id seen.
    last_id: u64,
    /// The caller has said that it makes no more calls: the end of its stream is no death.
    caller_done: bool,
    times: Times,
    stage: Stage,
}

/// `Fresh` → `Open` → `Draining` → `Ending` → the end; a violation or the peer's end skips `Draining`.
#[derive(Debug)]
enum Stage {
    Fresh,
    Open,
    Draining { until: Instant },
    Ending(Farewell),
}

/// Since when what has been so; the alarm looks through them.
#[derive(Debug)]
struct Times {
    last_read: Instant,
    asked_for_life: Option<Instant>,
    last_call: Instant,
    half_read: Option<Instant>,
    /// Since when the peer has taken nothing, and how far it had come.
    half_written: Option<(Instant, usize)>,
}

type Decoded = Result<DecodedRequest, RequestError>;

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The peer is gone, or never was an honest one: nothing to say.
    Gone,
    /// Everything is said.
    Finished,
    /// The last words, with the reason.
    Violation(GoAwayReason, String),
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        End::Violation(error.reason(), error.to_string())
    }
}

impl From<ControlError> for End {
    fn from(error: ControlError) -> Self {
        End::Violation(GoAwayReason::Malformed, error.to_string())
    }
}

fn malformed(why: impl Into<String>) -> End {
    End::Violation(GoAwayReason::Malformed, why.into())
}

impl<T, S> ServerConnection<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    /// A connection over any stream, served by any service. `drain` tells it to finish.
    ///
    /// The configuration is taken as it is: [`ServerConfig::validate`] it before.
    pub fn new(io: T, service: S, config: &ServerConfig, drain: DrainWatch) -> Self {
        let now = Instant::now();
        let mut writing = OutQueue::default();
        announce(config, &mut writing.buf);
        ServerConnection {
            io,
            origin: service.clone(),
            service,
            place: Place::new(),
            shared: Arc::new(Shared::new()),
            reader: FrameReader::default(),
            writing,
            config: config.clone(),
            drain,
            alarm: Alarm::default(),
            peer_max_payload: towpath_codec::DEFAULT_MAX_PAYLOAD,
            outstanding: 0,
            last_id: 0,
            caller_done: false,
            times: Times {
                last_read: now,
                asked_for_life: None,
                last_call: now,
                half_read: None,
                half_written: None,
            },
            stage: Stage::Fresh,
        }
    }

    /// Sends the peer away politely: GOAWAY, and the end.
    pub(crate) fn refuse(&mut self, why: &str) {
        self.goaway(GoAwayReason::Draining, why);
        self.stage = Stage::Ending(Farewell::new(mem::take(&mut self.writing)));
    }

    fn goaway(&mut self, reason: GoAwayReason, text: &str) {
        let goaway = GoAway { reason, last_id: self.last_id, text: text.to_owned() };
        towpath_codec::put_goaway(&mut self.writing.buf, &goaway);
    }

    /// One wake-up. An error ends the connection.
    fn run(&mut self, cx: &mut task::Context<'_>) -> Result<(), End> {
        if let Stage::Fresh = self.stage {
            self.stage = Stage::Open;
            self.look_around()?;
        }
        if let Stage::Open = self.stage
            && self.drain.poll(cx)
        {
            let until = Instant::now() + self.config.drain_timeout;
            self.goaway(GoAwayReason::Draining, "draining");
            self.stage = Stage::Draining { until };
            self.alarm.not_later_than(until);
        }
        loop {
            let read = self.read(cx)?;
            self.write(cx)?;
            if read {
                continue;
            }
            if self.alarm.poll(cx).is_pending() {
                return Ok(());
            }
            self.look_around()?;
        }
    }

    /// One read, and the work that came with it. `false`: there is nothing to read now, or there is too
    /// much unfinished to read more.
    fn read(&mut self, cx: &mut task::Context<'_>) -> Result<bool, End> {
        if self.is_full() {
            return Ok(false);
        }
        match self.reader.poll_read(&mut self.io, cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => self.end_of_stream(),
            Poll::Ready(Ok(_)) => {
                // One reading of the clock for all that has arrived together.
                let now = Instant::now();
                self.times.last_read = now;
                self.times.asked_for_life = None;
                self.frames(now)?;
                Ok(true)
            }
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a connection broke");
                Err(End::Gone)
            }
        }
    }

    /// Work piles up, or answers do: the peer has to wait.
    fn is_full(&self) -> bool {
        if self.writing.len() > self.config.max_backlog {
            return true;
        }
        if self.outstanding == 0 {
            return false;
        }
        let state = self.shared.lock();
        state.held > self.config.max_held || state.out.len() > self.config.max_backlog
    }

    fn end_of_stream(&mut self) -> Result<bool, End> {
        if self.reader.is_partial() || !self.caller_done {
            // A caller that dies in the middle is no caller that has finished.
            return Err(End::Gone);
        }
        Ok(false)
    }

    fn frames(&mut self, now: Instant) -> Result<(), End> {
        let mut count = 0usize;
        while let Next::Frame(kind, payload) = self.reader.next(self.config.max_payload)? {
            count += 1;
            self.frame(kind, payload, now, count)?;
        }
        if !self.reader.is_partial() {
            self.times.half_read = None;
        } else if count > 0 || self.times.half_read.is_none() {
            self.times.half_read = Some(now);
            self.alarm.not_later_than(now + self.config.stall_timeout);
        }
        Ok(())
    }

    #[inline]
    fn frame(&mut self, kind: u8, payload: Bytes, now: Instant, nth: usize) -> Result<(), End> {
        match kind {
            kind::REQUEST => self.request(payload, now, nth),
            kind::CANCEL => {
                let id = towpath_codec::id(&payload).filter(|id| *id != 0);
                let id = id.ok_or_else(|| malformed("CANCEL without a call id"))?;
                // The handler is dropped outside the lock, by its own task.
                let cancelled = self.shared.lock().remove(id);
                if let Some(call) = cancelled {
                    call.stop();
                }
                Ok(())
            }
            kind::PING => {
                let id = towpath_codec::id(&payload).ok_or_else(|| malformed("PING without an id"))?;
                towpath_codec::put_short(&mut self.writing.buf, kind::PONG, id);
                Ok(())
            }
            kind::PONG => match towpath_codec::id(&payload) {
                Some(_) => Ok(()),
                None => Err(malformed("PONG without an id")),
            },
            kind::GOAWAY => {
                towpath_codec::decode_goaway(&payload)?;
                self.caller_done = true;
                Ok(())
            }
            kind::SETTINGS => {
                if let Some(max) = towpath_codec::decode_settings(&payload)?.max_payload {
                    self.peer_max_payload = max;
                    self.shared.lock().max_payload = max;
                }
                Ok(())
            }
            kind::EXTENSIONS.. => Ok(()),
            _ => Err(malformed(format!("{} from a caller", kind::name(kind)))),
        }
    }

    fn request(&mut self, payload: Bytes, arrival: Instant, nth: usize) -> Result<(), End> {
        let bytes = payload.len();
        let limits = Limits { max_metadata: self.config.max_metadata, allow_compressed: false };
        // A request is a few hundred bytes: it stays where it is until the service takes it.
        let mut decoded = towpath_codec::decode_request(payload, &limits);
        let id = match &decoded {
            Ok(decoded) => decoded.id,
            Err(RequestError::Malformed { id, .. }) => *id,
            Err(RequestError::NoId) => return Err(malformed("REQUEST without a call id")),
        };
        if id <= self.last_id {
            return Err(malformed(format!("call id {id} after {}", self.last_id)));
        }
        self.last_id = id;
        self.times.last_call = arrival;
        let call = match &mut decoded {
            Ok(call) => call,
            Err(error) => {
                let error = Error::new(ErrorKind::Malformed).because(error.to_string());
                self.put(id, &answer::refusal(&error, CodecId::JSON, None), CodecId::JSON);
                return Ok(());
            }
        };
        if call.timeout_ms > 0 {
            let deadline = arrival + Duration::from_millis(call.timeout_ms.into());
            call.request.context_mut().set_deadline(Some(deadline));
            call.request.context_mut().set_stamp(Some(arrival));
            // The work before it in the same read may have used up its time.
            if nth > 1 && Instant::now() >= deadline {
                let error = Error::new(ErrorKind::DeadlineExceeded)
                    .with_processed(Processed::No)
                    .because("it had passed before the work could begin");
                self.refuse_call(id, &call.request, &error);
                return Ok(());
            }
        }
        if let Some(kind) = self.refusal() {
            self.refuse_call(id, &call.request, &Error::new(kind));
            return Ok(());
        }
        self.dispatch(id, &mut decoded, bytes);
        Ok(())
    }

    /// Why no call is taken now, if so.
    #[inline]
    fn refusal(&mut self) -> Option<ErrorKind> {
        if let Stage::Draining { .. } = self.stage {
            return Some(ErrorKind::Draining);
        }
        let limit = self.config.max_outstanding as usize;
        if self.outstanding < limit {
            return None;
        }
        self.outstanding = self.shared.lock().calls.len();
        (self.outstanding >= limit).then_some(ErrorKind::Overloaded)
    }

    #[cold]
    fn refuse_call(&mut self, id: u64, request: &Request, error: &Error) {
        if request.mode() != Mode::OneWay {
            self.put(id, &answer::refusal(error, request.codec(), Some(request.context())), request.codec());
        }
    }

    fn put(&mut self, id: u64, response: &Response, codec: CodecId) {
        answer::put(&mut self.writing, kind::RESPONSE, id, response, codec, self.peer_max_payload);
    }

    /// Lets the service begin. What is done at once is answered at once.
    #[inline]
    fn dispatch(&mut self, id: u64, decoded: &mut Decoded, bytes: usize) {
        let Ok(DecodedRequest { request, .. }) = decoded else { return };
        let (mode, codec) = (request.mode(), request.codec());
        let of = |context: Context| Call { mode, codec, accepted: false, context, bytes, task: None };
        if mode == Mode::Async {
            // It stands in the table from the beginning: its acceptance may come at any time.
            let shared = self.shared.clone();
            request.extensions_mut().insert(Acceptance::new(move || shared.accept(id)));
            self.enter(id, of(request.context().clone()));
        }
        let entered = context::enter(request.context());
        let (place, service) = (&mut self.place, &mut self.service);
        let result = match catch_unwind(AssertUnwindSafe(|| begin(place, service, decoded))) {
            Ok(Poll::Ready(result)) => result,
            Ok(Poll::Pending) => return self.move_aside(id, of(entered.leave())),
            Err(panic) => {
                self.service = self.origin.clone();
                Err(panicked(&*panic))
            }
        };
        // What a destructor does is the user's code as well.
        if catch_unwind(AssertUnwindSafe(|| self.place.clear())).is_err() {
            self.place = Place::new();
        }
        match mode {
            // By reference: a response is large, and has been moved often enough.
            Mode::Unary => match &result {
                Ok(response) => self.put(id, response, codec),
                Err(_) => {
                    let context = entered.leave();
                    if let Err(error) = result {
                        self.put(id, &answer::failure(error, codec, Some(&context)), codec);
                    }
                }
            },
            Mode::Async => self.shared.finish(id, result),
            _ => {}
        }
    }

    fn enter(&mut self, id: u64, call: Call) {
        if let Some(deadline) = call.context.deadline() {
            self.alarm.not_later_than(deadline);
        }
        self.outstanding += 1;
        self.shared.lock().insert(id, call);
    }

    /// A pending call goes on in a task of its own.
    fn move_aside(&mut self, id: u64, call: Call) {
        let place = mem::replace(&mut self.place, Place::new());
        let aside = Aside::new(place.with_context(call.context.clone()), self.shared.clone(), id);
        if call.mode != Mode::Async {
            self.enter(id, call);
        }
        let task = tokio::spawn(aside).abort_handle();
        // It may be done already, on another thread.
        if let Some(call) = self.shared.lock().calls.get_mut(&id) {
            call.task = Some(task);
        }
    }

    /// Writes what is there, until there is nothing or the socket is full.
    fn write(&mut self, cx: &mut task::Context<'_>) -> Result<(), End> {
        loop {
            let idle = {
                let mut state = self.shared.lock();
                self.writing.append(&mut state.out);
                if self.writing.is_empty() {
                    state.driver_asked = false;
                    if !state.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                        state.driver = Some(cx.waker().clone());
                    }
                }
                self.outstanding = state.calls.len();
                self.outstanding == 0
            };
            if self.writing.is_empty() {
                self.times.half_written = None;
                let leaving = self.caller_done || matches!(self.stage, Stage::Draining { .. });
                return if leaving && idle { Err(End::Finished) } else { Ok(()) };
            }
            match self.writing.poll_write(&mut self.io, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a connection broke");
                    return Err(End::Gone);
                }
                Poll::Pending => {
                    let at = self.writing.progress();
                    if self.times.half_written.is_none_or(|(_, before)| before != at) {
                        let now = Instant::now();
                        self.times.half_written = Some((now, at));
                        self.alarm.not_later_than(now + self.config.stall_timeout);
                    }
                    return Ok(());
                }
            }
        }
    }

    /// The alarm has rung: whose time is up, and when to look again.
    fn look_around(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let earliest = self.expire(now);
        let mut next = earliest;
        let mut again = |at: Instant| next = Some(next.map_or(at, |other: Instant| other.min(at)));
        let stall = self.config.stall_timeout;
        for since in
            [self.times.half_read, self.times.half_written.map(|(since, _)| since)].into_iter().flatten()
        {
            if now >= since + stall {
                tracing::debug!("a peer has stalled for {} ms: its connection is closed", stall.as_millis());
                return Err(End::Gone);
            }
            again(since + stall);
        }
        if let Stage::Draining { until } = self.stage {
            if now >= until {
                self.give_up_calls();
                return Err(End::Finished);
            }
            again(until);
        }
        if let Some(every) = self.config.keep_alive {
            match self.times.asked_for_life {
                Some(asked) if now >= asked + self.config.keep_alive_timeout => {
                    tracing::debug!("a peer gives no sign of life: its connection is closed");
                    return Err(End::Gone);
                }
                Some(asked) => again(asked + self.config.keep_alive_timeout),
                None if now >= self.times.last_read + every => {
                    towpath_codec::put_short(&mut self.writing.buf, kind::PING, 1);
                    self.times.asked_for_life = Some(now);
                    again(now + self.config.keep_alive_timeout);
                }
                None => again(self.times.last_read + every),
            }
        }
        if let Some(after) = self.config.idle_timeout {
            if !self.shared.lock().calls.is_empty() {
                self.times.last_call = now;
            }
            if now >= self.times.last_call + after {
                return Err(End::Violation(GoAwayReason::Idle, "idle".to_owned()));
            }
            again(self.times.last_call + after);
        }
        if let Some(next) = next {
            self.alarm.not_later_than(next);
        }
        Ok(())
    }

    /// Stops the calls whose deadline has passed, and answers them. Says when the next one is due.
    fn expire(&mut self, now: Instant) -> Option<Instant> {
        let mut state = self.shared.lock();
        for (id, call) in state.expired(now) {
            call.stop();
            let error = Error::new(ErrorKind::DeadlineExceeded);
            let response = answer::refusal(&error, call.codec, Some(&call.context));
            state.respond(id, &call, response);
        }
        state.earliest
    }

    /// The drain's own time is up.
    fn give_up_calls(&mut self) {
        let mut state = self.shared.lock();
        for (id, call) in state.take_all() {
            call.stop();
            // MCP-W-108 would mean "not processed" in a RESPONSE; in a PUSH it does not.
            let kind = if call.accepted { ErrorKind::Draining } else { ErrorKind::Cancelled };
            let error = Error::new(kind)
                .with_processed(Processed::Unknown)
                .because("the server's drain did not wait longer");
            let response = answer::refusal(&error, call.codec, Some(&call.context));
            state.respond(id, &call, response);
        }
        self.writing.append(&mut state.out);
    }

    fn end(&mut self, end: End) {
        if let End::Violation(reason, text) = &end {
            if *reason != GoAwayReason::Idle {
                tracing::debug!(?reason, text, "a peer broke the protocol: its connection is closed");
            }
            self.goaway(*reason, text);
        }
        self.stop_calls();
        // Also for a peer that seems gone: it may have closed one half only, and still read its answers.
        self.stage = Stage::Ending(Farewell::new(mem::take(&mut self.writing)));
    }
}

impl<T, S: Service<Request>> ServerConnection<T, S> {
    fn stop_calls(&mut self) {
        let calls = self.shared.lock().take_all();
        for (_, call) in calls {
            call.stop();
        }
    }
}

/// The first poll of a call, by nobody's waker: if it is pending, its own task polls it again.
#[inline]
fn begin<S>(place: &mut Place<S>, service: &mut S, decoded: &mut Decoded) -> Poll<Result<Response, BoxError>>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>> + Clone,
{
    let mut cx = task::Context::from_waker(Waker::noop());
    let ready = service.poll_ready(&mut cx);
    let Ok(DecodedRequest { request, .. }) = mem::replace(decoded, Err(RequestError::NoId)) else {
        return Poll::Pending;
    };
    place.set(match ready {
        Poll::Ready(Ok(())) => CallFuture::Running { future: service.call(request) },
        Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
        // The clone that waits for its turn goes with the call, so that its turn is not lost.
        Poll::Pending => {
            let fresh = service.clone();
            CallFuture::Unready { service: mem::replace(service, fresh), request: Some(request) }
        }
    });
    Pin::new(place).poll(&mut cx)
}

/// SETTINGS, if this side's limits are not the protocol's.
fn announce(config: &ServerConfig, out: &mut Vec<u8>) {
    let standard = ServerConfig::default();
    let settings = Settings {
        max_payload: (config.max_payload != standard.max_payload).then_some(config.max_payload),
        max_outstanding: (config.max_outstanding != standard.max_outstanding)
            .then_some(config.max_outstanding),
        idle_timeout_ms: config
            .idle_timeout
            .map(|after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX)),
        ..Settings::default()
    };
    if settings != Settings::default() {
        towpath_codec::put_settings(out, &settings);
    }
}

impl<T, S> Future for ServerConnection<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !matches!(this.stage, Stage::Ending(_)) {
            match this.run(cx) {
                Ok(()) => return Poll::Pending,
                Err(end) => this.end(end),
            }
        }
        if let Stage::Ending(farewell) = &mut this.stage {
            ready!(farewell.poll(&mut this.io, cx));
        }
        Poll::Ready(())
    }
}

/// Nothing in it is pinned to where it stands: the futures of handlers are boxed in their place.
impl<T: Unpin, S: Service<Request>> Unpin for ServerConnection<T, S> {}

impl<T, S: Service<Request>> Drop for ServerConnection<T, S> {
    fn drop(&mut self) {
        self.stop_calls();
    }
}

impl<T, S: Service<Request>> fmt::Debug for ServerConnection<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConnection").field("stage", &self.stage).finish_non_exhaustive()
    }
}
