//! What the driver of a connection and the calls that it has moved aside share.

use super::{answer, unpack::TURNS};
use crate::{
    compression::Packing,
    out::OutQueue,
    sync::{Mutex, MutexGuard},
};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError},
    task::Waker,
    time::Duration,
};
use tokio::{sync::Semaphore, task::AbortHandle, time::Instant};
use towpath_codec::kind;
use towpath_core::{BoxError, CodecId, Context, Mode, Response};

/// Room for as many is kept when a burst is over.
const KEPT_CALLS: usize = 4096;

/// How long after a sweep the next one may come, for each call: a sweep costs about a tenth of it.
const SWEEP_PER_CALL: Duration = Duration::from_nanos(100);

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) packing: Packing,
    turns: OnceLock<Arc<Semaphore>>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) out: OutQueue,
    /// Calls that were pending after their first poll, by id.
    pub(crate) calls: HashMap<u64, Call>,
    /// Bytes of their requests.
    pub(crate) held: usize,
    /// No deadline among them is earlier than this.
    pub(crate) earliest: Option<Instant>,
    pub(crate) driver: Option<Waker>,
    pub(crate) driver_asked: bool,
    /// The largest payload that the peer takes.
    pub(crate) max_payload: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) mode: Mode,
    pub(crate) codec: CodecId,
    /// An asynchronous call whose ACK is sent.
    pub(crate) accepted: bool,
    pub(crate) context: Context,
    pub(crate) bytes: usize,
    pub(crate) task: Option<AbortHandle>,
}

impl Shared {
    pub(crate) fn new(packing: Packing) -> Self {
        let state = Mutex::new(State {
            out: OutQueue::default(),
            calls: HashMap::new(),
            held: 0,
            earliest: None,
            driver: None,
            driver_asked: false,
            max_payload: towpath_codec::DEFAULT_MAX_PAYLOAD,
        });
        Shared { state, packing, turns: OnceLock::new() }
    }

    /// For work on large bodies; see there.
    pub(crate) fn turns(&self) -> Arc<Semaphore> {
        self.turns.get_or_init(|| Arc::new(Semaphore::new(TURNS))).clone()
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An asynchronous call is accepted: ACK, once.
    pub(crate) fn accept(&self, id: u64) {
        let mut state = self.lock();
        let driver = match state.calls.get_mut(&id) {
            Some(call) if !call.accepted => {
                call.accepted = true;
                state.out.short(kind::ACK, id);
                state.ask()
            }
            _ => None,
        };
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// A call that stands in the table is done. Nothing happens if it was cancelled meanwhile.
    pub(crate) fn finish(&self, id: u64, result: Result<Response, BoxError>) {
        // A user's types are shown and dropped outside the lock.
        let response = match result {
            Ok(response) if self.packing.wants(&response) => self.packing.packed(response),
            Ok(response) => response,
            Err(error) => {
                let call = self.lock().calls.get(&id).cloned();
                let Some(call) = call else { return };
                answer::guarded(error, call.codec, Some(&call.context))
            }
        };
        let mut state = self.lock();
        let Some(call) = state.remove(id) else { return };
        state.respond(id, &call, &response);
        let driver = state.ask();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl State {
    /// Answers a call that was just removed, in the form that it waits for.
    pub(crate) fn respond(&mut self, id: u64, call: &Call, response: &Response) {
        let kind = match call.mode {
            Mode::OneWay => return,
            Mode::Async if call.accepted => kind::PUSH,
            // Nobody has said so before, but a result is proof of acceptance; a fault is a refusal.
            Mode::Async if !response.is_fault() => {
                self.out.short(kind::ACK, id);
                kind::PUSH
            }
            _ => kind::RESPONSE,
        };
        answer::put(&mut self.out, kind, id, response, call.codec, self.max_payload);
    }

    pub(crate) fn insert(&mut self, id: u64, call: Call) {
        self.held += call.bytes;
        if let Some(deadline) = call.context.deadline() {
            self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
        }
        self.calls.insert(id, call);
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        self.held -= call.bytes;
        if self.calls.is_empty() && self.calls.capacity() > KEPT_CALLS {
            self.calls = HashMap::new();
        }
        Some(call)
    }

    /// Takes out the calls whose deadline has passed.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<(u64, Call)> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        let late = |call: &Call| call.context.deadline().is_some_and(|deadline| deadline <= now);
        let mut ids: Vec<u64> = self.calls.iter().filter(|(_, call)| late(call)).map(|(id, _)| *id).collect();
        // In the order in which they came, not in that of the table, which is another in each run.
        ids.sort_unstable();
        let calls = ids.into_iter().filter_map(|id| Some((id, self.remove(id)?))).collect();
        // Each look visits every call: with very many of them it is worth a few milliseconds to look less
        // often (100 000: 10 ms).
        let not_before = now + SWEEP_PER_CALL * u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        let earliest = self.calls.values().filter_map(|call| call.context.deadline()).min();
        self.earliest = earliest.map(|earliest| earliest.max(not_before));
        calls
    }

    /// Takes out all calls.
    pub(crate) fn take_all(&mut self) -> Vec<(u64, Call)> {
        self.held = 0;
        self.earliest = None;
        let mut calls: Vec<_> = self.calls.drain().collect();
        // As above.
        calls.sort_unstable_by_key(|(id, _)| *id);
        calls
    }

    /// The driver's waker, unless it has been asked already.
    fn ask(&mut self) -> Option<Waker> {
        if std::mem::replace(&mut self.driver_asked, true) { None } else { self.driver.take() }
    }
}

impl Call {
    /// Stops the handler, if it has a task of its own.
    pub(crate) fn stop(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
