//! What callers and the driver of one connection share.

use super::table::{Entering, Entry, Phase, Table};
use crate::{
    compression::Packing,
    out::OutQueue,
    sync::{AtomicBool, Mutex, MutexGuard},
};
use std::{
    ops::Deref,
    sync::{
        Arc, PoisonError,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Poll, Waker},
    time::Duration,
};
use tokio::time::Instant;
use towpath_codec::{EncodeError, kind};
use towpath_core::{Error, ErrorKind, Mode, Processed, Request};

/// One connection, seen from its callers.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Nobody can make a call any more: the driver ends when nothing is outstanding.
    abandoned: AtomicBool,
    pub(crate) peer: Arc<str>,
    max_buffered: usize,
    pub(crate) packing: Packing,
    /// As `closing` is set in the state: readiness is asked for before every call.
    closed: AtomicBool,
    /// As `taken` and `limit` are in the table, for who chooses among connections. Hints, which decide nothing here: not loom's.
    taken: AtomicUsize,
    limit: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) table: Table,
    pub(crate) out: OutQueue,
    /// Frames in `out`: the driver flushes when as many are there as it expects.
    pub(crate) queued: usize,
    /// One-way calls in `out`: they are done when it is written.
    pub(crate) one_way: Vec<u64>,
    /// The highest call id in `out`, or before it.
    pub(crate) pushed: u64,
    /// The highest call id that was handed to the socket.
    pub(crate) handed: u64,
    /// Pings that wait for their pong, oldest first.
    pub(crate) pings: Vec<Ping>,
    /// The next id of a ping, or of a watcher.
    pub(crate) next_ping: u64,
    pub(crate) driver: Option<Waker>,
    /// The driver knows that there is something to write.
    pub(crate) flush_asked: bool,
    /// The limit of outstanding calls that was configured here; the peer's may be lower.
    pub(crate) own_limit: usize,
    /// The largest payload that the peer takes.
    pub(crate) max_payload: u32,
    /// Why no new call may be made.
    pub(crate) closing: Option<Error>,
    /// It was the peer, because nobody used the connection.
    pub(crate) closed_idle: bool,
    /// The driver is gone.
    pub(crate) dead: bool,
    /// Those who wait for the end of the connection.
    pub(crate) watchers: Vec<(u64, Waker)>,
}

#[derive(Debug)]
pub(crate) struct Ping {
    pub(crate) id: u64,
    pub(crate) waker: Waker,
    pub(crate) answered: bool,
}

/// What those hold who can make calls, or have made one that is not sent yet. The driver, and who only
/// watches, hold [`Shared`].
#[derive(Debug)]
pub(crate) struct Handle(Arc<Shared>);

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Handle(shared)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Deref for Handle {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Release);
        let driver = self.0.lock().ask_flush();
        wake(driver);
    }
}

/// What became of a call that wanted to be sent.
pub(crate) enum Started {
    /// Its frame is in the queue.
    Sent(u64),
    /// It waits in line.
    Queued(u64),
}

impl Shared {
    pub(crate) fn new(limit: usize, peer: Arc<str>, max_buffered: usize, packing: Packing) -> Self {
        Shared {
            state: Mutex::new(State {
                table: Table::new(limit),
                out: OutQueue::default(),
                queued: 0,
                one_way: Vec::new(),
                pushed: 0,
                handed: 0,
                pings: Vec::new(),
                next_ping: 1,
                driver: None,
                flush_asked: false,
                own_limit: limit,
                max_payload: towpath_codec::DEFAULT_MAX_PAYLOAD,
                closing: None,
                closed_idle: false,
                dead: false,
                watchers: Vec::new(),
            }),
            abandoned: AtomicBool::new(false),
            peer,
            max_buffered,
            packing,
            closed: AtomicBool::new(false),
            taken: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
        }
    }

    /// About how many calls hold a slot.
    #[inline]
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// About how many may.
    #[inline]
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// Lets others know how many calls hold a slot.
    #[inline]
    pub(crate) fn show_taken(&self, state: &State) {
        self.taken.store(state.table.taken(), Relaxed);
    }

    /// Another limit of outstanding calls.
    pub(crate) fn set_limit(&self, state: &mut State, limit: usize) {
        state.table.set_limit(limit);
        self.limit.store(limit, Relaxed);
    }

    /// Nothing that runs under this lock is a user's code but wakers; a poisoned lock has whole state.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Acquire)
    }

    /// Takes no new calls, for this reason or for the one before it.
    pub(crate) fn close(&self, state: &mut State, error: Error) {
        state.closing.get_or_insert(error);
        self.closed.store(true, Relaxed);
    }

    /// A hint: a call may find out otherwise, and says so itself.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Relaxed)
    }

    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind).at(self.peer.clone())
    }

    fn has_room(&self, state: &State) -> bool {
        state.out.len() + state.table.granted_bytes() < self.max_buffered
    }

    /// Sends a call, or puts it in line.
    #[inline]
    pub(crate) fn start(&self, request: &Option<Request>, waker: &Waker) -> Result<Started, Error> {
        let Some(call) = request.as_ref() else { return Err(self.error(ErrorKind::Cancelled)) };
        let (deadline, timeout_ms) = match call.context().deadline() {
            None => (None, 0),
            Some(deadline) => {
                let now = call.context().stamp().unwrap_or_else(Instant::now);
                (Some(deadline), self.timeout_ms(deadline, now)?)
            }
        };
        let mut state = self.lock();
        if let Some(error) = &state.closing {
            return Err(error.clone().with_processed(Processed::No));
        }
        let room = self.has_room(&state);
        let entering = Entering { bytes: call.body().len(), is_async: call.mode() == Mode::Async, deadline };
        let earliest = state.table.earliest();
        let (started, driver) = match state.table.enter(room, entering, waker) {
            None => return Err(self.error(ErrorKind::Overloaded).because("too many calls wait in line")),
            Some(Entry::Queued(id)) => {
                // Only to learn of a deadline that is earlier than what its timer is set to; or that there is
                // somebody who waits for the window.
                let sooner = deadline.is_some() && state.table.earliest() != earliest
                    || state.table.waits_for_window() && state.table.window.due().is_none();
                (Started::Queued(id), if sooner { state.ask_flush() } else { None })
            }
            Some(Entry::Granted(id)) => {
                state.push(self, id, timeout_ms, request)?;
                self.show_taken(&state);
                (Started::Sent(id), state.ask_flush())
            }
        };
        drop(state);
        wake(driver);
        Ok(started)
    }

    /// Looks whether a call that waited in line may be sent, and sends it.
    pub(crate) fn poll_queued(
        &self,
        id: u64,
        request: &Option<Request>,
        waker: &Waker,
    ) -> Poll<Result<u64, Error>> {
        let mut state = self.lock();
        let Some(slot) = state.table.get(id) else {
            return Poll::Ready(Err(self.error(ErrorKind::Cancelled)));
        };
        if slot.phase == Phase::Queued {
            keep(&mut slot.waker, waker);
            return Poll::Pending;
        }
        let timeout_ms = match request.as_ref().and_then(|call| call.context().deadline()) {
            // It has waited: the reading that came with it is stale.
            Some(deadline) => self.timeout_ms(deadline, Instant::now()),
            None => Ok(0),
        };
        let turn = match &slot.outcome {
            Some(Err(error)) => Err(error.clone()),
            _ => timeout_ms,
        };
        let timeout_ms = match turn {
            Ok(timeout_ms) => timeout_ms,
            Err(error) => {
                drop(state);
                self.leave(id);
                return Poll::Ready(Err(error));
            }
        };
        keep(&mut slot.waker, waker);
        let Some(id) = state.table.send(id) else {
            return Poll::Ready(Err(self.error(ErrorKind::Cancelled)));
        };
        let sent = state.push(self, id, timeout_ms, request).map(|()| id);
        let next = if sent.is_err() { self.next_in_line(&mut state) } else { None };
        self.show_taken(&state);
        let driver = state.ask_flush();
        drop(state);
        wake(driver);
        wake(next);
        Poll::Ready(sent)
    }

    /// A call is given up: its slot is free, the callee is told, and the next in line has its turn.
    pub(crate) fn leave(&self, id: u64) {
        let mut state = self.lock();
        let mut driver = None;
        if let Some((Phase::Sent | Phase::Accepted, None)) = state.table.leave(id)
            && !state.dead
        {
            state.out.short(kind::CANCEL, id);
            state.queued += 1;
            driver = state.ask_flush();
        }
        let next = self.next_in_line(&mut state);
        self.show_taken(&state);
        drop(state);
        wake(driver);
        wake(next);
    }

    /// Lets the next in line go, if there is room: one place that became free is for one. Where nobody is
    /// left, and nobody can come, the driver is next.
    #[inline]
    pub(crate) fn next_in_line(&self, state: &mut State) -> Option<Waker> {
        if state.table.has_turn() && self.has_room(state) {
            return state.table.grant();
        }
        // The last call of a connection that takes no new ones: its driver has waited for that.
        if state.closing.is_some() && state.table.is_idle() { state.ask_flush() } else { None }
    }

    /// Lets all go for whom there is room.
    pub(crate) fn drain_line(&self, state: &mut State, wakers: &mut Vec<Waker>) {
        while let Some(waker) = self.next_in_line(state) {
            wakers.push(waker);
        }
    }

    /// The connection has ended: everybody is told, with what is known of their call.
    pub(crate) fn bury(&self, state: &mut State, error: &Error, wakers: &mut Vec<Waker>) {
        let handed = state.handed;
        state.table.complete_where(wakers, |slot| {
            let begun = matches!(slot.phase, Phase::Sent | Phase::Accepted) && slot.id <= handed;
            let processed = if begun { Processed::Unknown } else { Processed::No };
            Some(Err(error.clone().with_processed(processed)))
        });
        state.dead = true;
        self.close(state, error.clone());
        state.out = OutQueue::default();
        state.one_way.clear();
        wakers.extend(state.pings.drain(..).map(|ping| ping.waker));
        wakers.extend(state.watchers.drain(..).map(|(_, waker)| waker));
    }

    /// What is left, for the frame: rounded up, at least 1.
    fn timeout_ms(&self, deadline: Instant, now: Instant) -> Result<u32, Error> {
        let left = deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Err(self
                .error(ErrorKind::DeadlineExceeded)
                .with_processed(Processed::No)
                .because("it had passed before the call was sent"));
        }
        let ms = left.as_nanos().div_ceil(Duration::from_millis(1).as_nanos());
        Ok(u32::try_from(ms).unwrap_or(u32::MAX))
    }
}

impl State {
    /// Appends the frame of a call whose slot is taken; frees the slot if it cannot be encoded.
    #[inline]
    fn push(
        &mut self,
        shared: &Shared,
        id: u64,
        timeout_ms: u32,
        request: &Option<Request>,
    ) -> Result<(), Error> {
        let Some(call) = request.as_ref() else { return Ok(()) };
        let before = self.out.buf.len();
        let encoded =
            towpath_codec::put_request_head(&mut self.out.buf, id, timeout_ms, call).and_then(|()| {
                let len = self.out.buf.len() - before - towpath_codec::HEADER_LEN + call.body().len();
                match u32::try_from(len) {
                    Ok(len) if len <= self.max_payload => Ok(()),
                    _ => Err(EncodeError::TooLarge { len: len as u64, max: self.max_payload.into() }),
                }
            });
        if let Err(error) = encoded {
            self.out.buf.truncate(before);
            self.table.leave(id);
            return Err(Error::from(error).at(shared.peer.clone()));
        }
        if call.mode() == Mode::OneWay {
            self.one_way.push(id);
        }
        self.out.body(call.body());
        self.pushed = id;
        self.queued += 1;
        Ok(())
    }

    /// The waker of the driver, unless it has been asked already.
    #[inline]
    pub(crate) fn ask_flush(&mut self) -> Option<Waker> {
        if self.flush_asked {
            return None;
        }
        self.flush_asked = true;
        self.driver.take()
    }
}

#[inline]
pub(crate) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Keeps a waker, cloning it only if it is another one.
#[inline]
pub(crate) fn keep(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(kept) if kept.will_wake(waker) => {}
        _ => *place = Some(waker.clone()),
    }
}
