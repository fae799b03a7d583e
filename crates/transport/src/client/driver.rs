//! The one task of a connection: it reads, completes calls, and writes what callers have queued.

use super::{
    ending::{End, call_id, going_away, opaque},
    shared::{Shared, State},
    table::{Outcome, Phase, Slot},
};
use crate::{
    alarm::Alarm,
    config::ClientConfig,
    farewell::Farewell,
    out::OutQueue,
    reader::FrameReader,
    traffic::{ConnectionEnd, CutShort, DecodeError, Meter, Traffic},
};
use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use towpath_codec::{GoAway, GoAwayReason, ResponseError, ResponseHead, Settings, kind};
use towpath_core::{Error, ErrorKind, Processed, Response, Status};

/// How often the driver lets callers run before it flushes, when it expects more of them to call.
const YIELDS: u8 = 3;

/// How many reads the driver makes before it lets others run.
const READS: u32 = 8;

/// A connection that was idle for so long gives its buffers back, when the clock comes by anyway.
const TIDY: Duration = Duration::from_secs(5);

/// Drives one connection; spawn it. It ends with the connection: `Ok` when that was closed in good order,
/// else with the reason, which every outstanding call is told as well.
///
/// It reads first and writes then: one read completes many calls, their callers run and queue the next
/// ones, and one write sends those. Batches form by themselves, without a timer, and a single call is
/// never held back.
///
/// Dropping it breaks the connection; outstanding calls fail (MCP-E-010).
#[derive(Debug)]
#[must_use = "a connection does nothing unless its driver is polled"]
pub struct Driver<T> {
    io: T,
    shared: Arc<Shared>,
    reader: FrameReader,
    /// What is being written, and the one-way calls in it.
    writing: OutQueue,
    writing_one_way: Vec<u64>,
    /// Callers woken since the last flush: as many calls may come.
    expect: usize,
    yields: u8,
    wakers: Vec<Waker>,
    alarm: Alarm,
    last_read: Instant,
    asked_for_life: Option<Instant>,
    keep_alive: Option<Duration>,
    keep_alive_timeout: Duration,
    max_payload: u32,
    max_buffered: usize,
    /// The socket was full, and how far the peer had come.
    blocked: Option<usize>,
    started: bool,
    meter: Meter,
    stage: Stage,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    pub(crate) fn new(io: T, shared: Arc<Shared>, config: &ClientConfig) -> Self {
        let settings = Settings {
            max_payload: (config.max_payload != towpath_codec::DEFAULT_MAX_PAYLOAD)
                .then_some(config.max_payload),
            compression: shared.packing.announced(),
            ..Settings::default()
        };
        // Not with the calls: it is to be the first frame, also where a PING is answered before any call.
        let mut writing = OutQueue::default();
        writing.settings(&settings);
        Driver {
            io,
            shared,
            reader: FrameReader::default(),
            writing,
            writing_one_way: Vec::new(),
            expect: 0,
            yields: YIELDS,
            wakers: Vec::new(),
            alarm: Alarm::default(),
            last_read: Instant::now(),
            asked_for_life: None,
            keep_alive: config.keep_alive,
            keep_alive_timeout: config.keep_alive_timeout,
            max_payload: config.max_payload,
            max_buffered: config.max_buffered,
            blocked: None,
            started: false,
            meter: Meter::default(),
            stage: Stage::Running,
        }
    }

    /// Counts this connection, and what goes over it.
    #[must_use = "a connection does nothing unless its driver is polled"]
    pub fn with_traffic(mut self, traffic: &Traffic) -> Self {
        self.meter = Meter::of(traffic.clone());
        self
    }

    /// One wake-up. An error ends the connection.
    fn run(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if !self.started {
            self.started = true;
            self.last_read = Instant::now();
            if let Some(every) = self.keep_alive {
                self.alarm.not_later_than(self.last_read + every);
            }
        }
        loop {
            self.read(cx)?;
            self.write(cx)?;
            // After writing: a call that was just queued may have set the alarm to an earlier time.
            if self.alarm.poll(cx).is_pending() {
                return Ok(());
            }
            self.look_around()?;
        }
    }

    /// Reads until the socket is dry, or until others should have their turn. An error ends the connection.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        for turn in 0.. {
            if turn == READS {
                cx.waker().wake_by_ref();
                break;
            }
            let bytes = match self.reader.poll_read(&mut self.io, cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(End::Eof),
                Poll::Ready(Ok(bytes)) => bytes,
                Poll::Ready(Err(error)) => return Err(self.lost(error.to_string())),
            };
            // One reading of the clock for all answers of this read.
            let now = Instant::now();
            self.last_read = now;
            self.asked_for_life = None;
            let read = self.frames(now);
            self.meter.read(bytes, self.reader.take_count());
            self.expect += self.wakers.len();
            self.wakers.drain(..).for_each(Waker::wake);
            read?;
        }
        Ok(())
    }

    /// Takes in all whole frames, under one lock.
    fn frames(&mut self, now: Instant) -> Result<(), End> {
        let mut state = self.shared.lock();
        while let Some(header) = self.reader.next(self.max_payload)? {
            let payload = self.reader.payload(header);
            match header.kind {
                kind::RESPONSE | kind::PUSH => {
                    let compressed = self.shared.packing.reads().then_some(self.max_payload);
                    let read = ResponseHead::read(&payload, compressed);
                    let id = match &read {
                        Ok(head) => head.id,
                        Err(ResponseError::Malformed { id, .. }) => {
                            self.meter.unreadable(DecodeError::Message);
                            *id
                        }
                        Err(error @ ResponseError::NoId) => {
                            return Err(End::Violation(GoAwayReason::Malformed, error.to_string()));
                        }
                    };
                    // Else nobody waits any more: it has crossed a cancellation; or it never was sent.
                    let Some(slot) = state.table.get(id).filter(|slot| slot.awaits_answer()) else {
                        continue;
                    };
                    match (header.kind, slot.is_async) {
                        // Not what was asked for; the call's deadline will tell.
                        (kind::PUSH, false) => continue,
                        // A result is as good as the acceptance before it. A fault without one is a refusal.
                        (kind::PUSH, true) => slot.phase = Phase::Accepted,
                        (_, true) if matches!(&read, Ok(head) if head.status == Status::Ok) => {
                            slot.phase = Phase::Accepted;
                        }
                        _ => {}
                    }
                    slot.deadline = None;
                    slot.outcome = Some(match read {
                        Ok(head) => {
                            let mut response = head.into_response(payload);
                            response.set_completed(now);
                            Ok(response)
                        }
                        Err(error) => Err(Error::from(error).at(self.shared.peer.clone())),
                    });
                    self.wakers.extend(slot.waker.take());
                }
                kind::ACK => {
                    let id = call_id(&payload)?;
                    if let Some(slot) =
                        state.table.get(id).filter(|slot| slot.is_async && slot.awaits_answer())
                    {
                        slot.phase = Phase::Accepted;
                        self.wakers.extend(slot.waker.take());
                    }
                }
                kind::PING => {
                    let value = opaque(&payload)?;
                    // Not with the calls: it is not to wait for them, and it goes out before a GOAWAY. A peer
                    // that asks without end and does not read is not answered without end.
                    if self.writing.len() < self.max_buffered {
                        self.writing.short(kind::PONG, value);
                    }
                }
                kind::PONG => {
                    let id = opaque(&payload)?;
                    if let Some(ping) = state.pings.iter_mut().find(|ping| ping.id == id) {
                        ping.answered = true;
                        self.wakers.push(ping.waker.clone());
                    }
                }
                kind::GOAWAY => {
                    let goaway = towpath_codec::decode_goaway(&payload)
                        .map_err(|error| End::Violation(GoAwayReason::Malformed, error.to_string()))?;
                    going_away(&self.shared, &mut state, &mut self.wakers, &goaway);
                }
                kind::SETTINGS => {
                    let settings = towpath_codec::decode_settings(&payload)
                        .map_err(|error| End::Violation(GoAwayReason::Malformed, error.to_string()))?;
                    self.shared.packing.heard(&settings);
                    if let Some(max) = settings.max_payload {
                        state.max_payload = max;
                    }
                    if let Some(max) = settings.max_outstanding {
                        let own = state.own_limit;
                        self.shared.set_limit(&mut state, own.min(max as usize));
                    }
                }
                kind::EXTENSIONS.. => {}
                _ => {
                    return Err(End::Violation(
                        GoAwayReason::Malformed,
                        format!("frame type {:#04x} from a callee", header.kind),
                    ));
                }
            }
        }
        self.shared.drain_line(&mut state, &mut self.wakers);
        let waiting = state.table.waits_for_window();
        if state.table.window.judge(now, waiting) {
            self.shared.drain_line(&mut state, &mut self.wakers);
        }
        Ok(())
    }

    /// Writes what callers have queued, until there is nothing or the socket is full.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            if !self.writing.is_empty() {
                let written = self.writing.poll_write(&mut self.io, cx);
                self.meter.wrote(self.writing.take_sent());
                match written {
                    Poll::Ready(Ok(())) => {
                        self.took(None);
                        self.written();
                    }
                    Poll::Pending => {
                        self.took(Some(self.writing.progress()));
                        return self.wait_for_socket(cx);
                    }
                    Poll::Ready(Err(error)) => return Err(self.lost(error.to_string())),
                }
            }
            let mut state = self.shared.lock();
            set_alarm(&mut self.alarm, &mut state);
            if state.out.is_empty() {
                state.flush_asked = false;
                self.yields = YIELDS;
                super::shared::keep(&mut state.driver, cx.waker());
                return self.done(&state);
            }
            if self.yields > 0 && state.queued < self.expect {
                // Some of the callers that were woken have not run yet.
                self.yields -= 1;
                drop(state);
                cx.waker().wake_by_ref();
                return Ok(());
            }
            mem::swap(&mut state.out, &mut self.writing);
            mem::swap(&mut state.one_way, &mut self.writing_one_way);
            state.queued = 0;
            state.handed = state.pushed;
            self.shared.drain_line(&mut state, &mut self.wakers);
            drop(state);
            self.wakers.drain(..).for_each(Waker::wake);
            self.expect = 0;
            self.yields = YIELDS;
        }
    }

    /// The socket is full. Deadlines go on, and a call may bring an earlier one.
    fn wait_for_socket(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let mut state = self.shared.lock();
        set_alarm(&mut self.alarm, &mut state);
        state.flush_asked = false;
        super::shared::keep(&mut state.driver, cx.waker());
        self.done(&state)
    }

    /// Whether there is nothing left to do.
    fn done(&self, state: &State) -> Result<(), End> {
        let leaving = state.closing.is_some() || self.shared.is_abandoned();
        if leaving && state.table.is_idle() { Err(End::Finished) } else { Ok(()) }
    }

    /// A peer that takes something after the socket was full is alive: a long upload is no silence. (What
    /// goes into a socket that is not full says nothing.)
    fn took(&mut self, at: Option<usize>) {
        if self.blocked.is_some() && self.blocked != at {
            self.last_read = Instant::now();
            self.asked_for_life = None;
        }
        self.blocked = at;
    }

    /// One-way calls are done when they are written.
    #[inline]
    fn written(&mut self) {
        if self.writing_one_way.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        for id in self.writing_one_way.drain(..) {
            self.wakers.extend(state.table.complete(id, Ok(Response::default())));
        }
        drop(state);
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// The alarm has rung: deadlines, and signs of life.
    fn look_around(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let late = |slot: &Slot| -> Outcome {
            let error = self.shared.error(ErrorKind::DeadlineExceeded);
            Err(match slot.phase {
                Phase::Sent | Phase::Accepted => {
                    self.meter.cut_short(CutShort::Called);
                    error
                }
                _ => {
                    self.meter.cut_short(CutShort::Waiting);
                    error.with_processed(Processed::No).because("it waited in line for the connection")
                }
            })
        };
        for id in state.table.expire(now, &mut self.wakers, late) {
            state.out.short(kind::CANCEL, id);
            state.queued += 1;
        }
        if state.table.window.look(now) {
            self.shared.drain_line(&mut state, &mut self.wakers);
        }
        state.table.shrink();
        if now >= self.last_read + TIDY && state.table.is_idle() && state.out.is_empty() {
            state.out = OutQueue::default();
            if self.writing.is_empty() {
                self.writing = OutQueue::default();
            }
            self.reader.tidy();
        }
        if let Some(every) = self.keep_alive {
            let next = match self.asked_for_life {
                Some(asked) if now >= asked + self.keep_alive_timeout => {
                    drop(state);
                    let silence = now.duration_since(self.last_read).as_millis();
                    return Err(
                        self.lost(format!("the peer has been silent for {silence} ms, a PING included"))
                    );
                }
                Some(asked) => asked + self.keep_alive_timeout,
                None if now >= self.last_read + every => {
                    let id = state.next_ping;
                    state.next_ping += 1;
                    state.out.short(kind::PING, id);
                    state.queued += 1;
                    self.asked_for_life = Some(now);
                    now + self.keep_alive_timeout
                }
                None => self.last_read + every,
            };
            self.alarm.not_later_than(next);
        }
        drop(state);
        self.wakers.drain(..).for_each(Waker::wake);
        Ok(())
    }

    fn lost(&self, why: String) -> End {
        End::Lost(self.shared.error(ErrorKind::ConnectionLost).because(why))
    }

    /// Tells everybody, and prepares the last words.
    fn end(&mut self, end: End) {
        let partial = self.reader.is_partial();
        let mut state = self.shared.lock();
        let idle = state.table.is_idle();
        let mut last_words = OutQueue::default();
        let why = match &end {
            End::Violation(reason, _) => {
                self.meter.violated(*reason);
                ConnectionEnd::Protocol
            }
            End::Lost(_) => ConnectionEnd::Lost,
            End::Eof if partial || !idle => ConnectionEnd::Lost,
            _ if state.closed_idle => ConnectionEnd::Idle,
            End::Eof => ConnectionEnd::ByPeer,
            End::Finished => ConnectionEnd::Finished,
        };
        self.meter.closed(why);
        let (error, result) = match end {
            End::Finished => {
                let goaway = GoAway { reason: GoAwayReason::Draining, last_id: 0, text: String::new() };
                last_words.goaway(&goaway);
                (state.closing.clone().unwrap_or_else(|| self.shared.error(ErrorKind::Draining)), Ok(()))
            }
            End::Eof if idle && !partial => {
                let error = state.closing.clone().unwrap_or_else(|| {
                    self.shared.error(ErrorKind::ConnectionLost).because("closed by the peer")
                });
                (error, Ok(()))
            }
            End::Eof => {
                let why = if partial {
                    "closed by the peer in the middle of a frame"
                } else {
                    "closed by the peer"
                };
                let error = self.shared.error(ErrorKind::ConnectionLost).because(why);
                (error.clone(), Err(error))
            }
            End::Lost(error) => (error.clone(), Err(error)),
            End::Violation(reason, text) => {
                let kind = match reason {
                    // Something else answers there.
                    GoAwayReason::BadMagic | GoAwayReason::BadVersion => ErrorKind::Version,
                    _ => ErrorKind::ConnectionLost,
                };
                let error = self.shared.error(kind).because(format!("the peer broke the protocol: {text}"));
                last_words.goaway(&GoAway { reason, last_id: 0, text });
                (error.clone(), Err(error))
            }
        };
        self.shared.bury(&mut state, &error, &mut self.wakers);
        drop(state);
        self.wakers.drain(..).for_each(Waker::wake);
        // What is half written is finished first, or the last words would land inside it.
        self.writing.append(&mut last_words);
        let farewell = matches!(result, Ok(())) || !self.writing.is_empty();
        self.stage =
            Stage::Ending(farewell.then(|| Farewell::new(mem::take(&mut self.writing))), Some(result));
    }
}

/// When the clock has something to say about calls: their deadlines, and a window that some wait for.
#[inline]
fn set_alarm(alarm: &mut Alarm, state: &mut State) {
    if let Some(earliest) = state.table.earliest() {
        alarm.not_later_than(earliest);
    }
    if state.table.waits_for_window() {
        if state.table.window.due().is_none() {
            state.table.window.judge(Instant::now(), true);
        }
        if let Some(due) = state.table.window.due() {
            alarm.not_later_than(due);
        }
    }
}

/// `Running` → `Ending` → the end.
#[derive(Debug)]
enum Stage {
    Running,
    Ending(Option<Farewell>, Option<Result<(), Error>>),
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Driver<T> {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Stage::Running = this.stage {
            match this.run(cx) {
                Ok(()) => return Poll::Pending,
                Err(end) => this.end(end),
            }
        }
        let Stage::Ending(farewell, result) = &mut this.stage else { return Poll::Pending };
        if let Some(farewell) = farewell {
            ready!(farewell.poll(&mut this.io, cx, &this.meter));
        }
        Poll::Ready(result.take().unwrap_or(Ok(())))
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        if let Stage::Running = self.stage {
            let error = self.shared.error(ErrorKind::ConnectionLost).because("its driver was dropped");
            let mut state = self.shared.lock();
            self.shared.bury(&mut state, &error, &mut self.wakers);
            drop(state);
            self.wakers.drain(..).for_each(Waker::wake);
        }
    }
}
