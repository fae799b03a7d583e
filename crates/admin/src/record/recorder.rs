//! What the layers of one client or server share.

use super::{
    config::RecordConfig,
    explain::{self, End, choice},
    heard::Heard,
    histogram::bucket,
    history::{ATTEMPTS, CANCELLED, COUNTS, FAILED, FAULTS, History, OK},
    kept::Kept,
    layer::{AttemptsLayer, CallsLayer},
    methods::{Ended, Methods},
    notes::Call,
};
use crate::{
    text::now_ms,
    view::{Explanation, FaultView, MethodView, Traffic},
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;
use towpath_balance::{BalanceEvent, BalanceHandle};
use towpath_breaker::BreakerEvent;
use towpath_core::{
    BoxError, Brief, Clock, EndpointId, Error, ErrorKind, Loan, Observe, Response, Shared, Tally,
};

/// Counts the calls of one client or server, and keeps what was decided about those that failed and about a sample of
/// the others. Clones are the same.
///
/// [`calls`](Self::calls) stands outermost, [`attempts`](Self::attempts) below retry. Without the second one there is
/// nothing to say of attempts, and a call that has no trace gets no id.
///
/// It costs a call that succeeds some 140 ns in both layers, half of them for two readings of the clock, and no allocation (while
/// no more than 256 calls are under way on a thread); one call in each second takes a lock. One that fails is written down, which takes
/// some microseconds.
#[derive(Clone)]
pub struct Recorder(Shared<Inner>);

pub(super) struct Inner {
    config: RecordConfig,
    /// The share of calls that is kept, of 2^64.
    sample: u64,
    counts: Tally<COUNTS>,
    methods: Methods,
    began: Instant,
    /// The last second in which a slice was cut, from 1.
    second: AtomicU64,
    history: Mutex<History>,
    failed: Kept<Arc<Explanation>>,
    /// As they were noted: they are put into words when somebody asks.
    sampled: Kept<Sampled>,
    endpoints: OnceLock<BalanceHandle>,
    heard: Heard,
    /// The second in which choices were looked at, and how often: that is dear where there are many endpoints.
    looks: AtomicU64,
}

/// A call of the sample that ended well.
struct Sampled {
    call: Box<Call>,
    took: Duration,
    at_ms: u64,
}

/// Choices that are looked at in a second.
const LOOKS: u64 = 50;

impl Recorder {
    /// One that has recorded nothing yet.
    pub fn new(config: RecordConfig) -> Self {
        let began = Clock::now();
        Recorder(Shared::new(Inner {
            config,
            // What is above the highest number is the highest.
            sample: (config.sample() * 2f64.powi(64)) as u64,
            counts: Tally::new(),
            methods: Methods::new(),
            began,
            second: AtomicU64::new(1),
            history: Mutex::new(History::new(began)),
            failed: Kept::new(config.failures()),
            sampled: Kept::new(config.samples()),
            endpoints: OnceLock::new(),
            heard: Heard::default(),
            looks: AtomicU64::new(0),
        }))
    }

    /// For whole calls: outermost.
    pub fn calls(&self) -> CallsLayer {
        CallsLayer(self.clone())
    }

    /// For attempts: below retry and limits, above what picks endpoints.
    pub fn attempts(&self) -> AttemptsLayer {
        AttemptsLayer(self.clone())
    }

    /// Says whose endpoints the attempts go to, so that they can be named. The first one counts.
    pub fn follow(&self, endpoints: BalanceHandle) {
        let _ = self.0.endpoints.set(endpoints);
    }

    pub(crate) fn heard(&self) -> &Heard {
        &self.0.heard
    }

    /// The calls in numbers.
    pub fn traffic(&self) -> Traffic {
        let now = Clock::now();
        let mut history = self.0.lock();
        let total = |count| self.0.counts.total(count);
        history.cut(now, total);
        history.traffic(now, total)
    }

    /// The calls of each method in numbers, the busiest first: of 64 methods; the rest is one with an empty name, at the end.
    pub fn methods(&self) -> Vec<MethodView> {
        self.0.methods.views(Clock::now())
    }

    /// The last calls that failed, the last one first.
    pub fn faults(&self, most: usize) -> Vec<FaultView> {
        self.0.failed.last(most, |call| explain::in_a_line(call))
    }

    /// What was decided about a call, if it is kept.
    pub fn explain(&self, trace_id: &str) -> Option<Arc<Explanation>> {
        let failed = self.0.failed.find(|call| call.trace_id == trace_id, Arc::clone);
        failed.or_else(|| {
            let id = u128::from_str_radix(trace_id, 16).ok()?;
            let is = |one: &Sampled| one.call.trace.is_some_and(|trace| trace.0 == id);
            self.0.sampled.find(is, |one| {
                let end = End {
                    took: one.took,
                    at_ms: one.at_ms,
                    outcome: "ok".to_owned(),
                    chain: Vec::new(),
                    said: None,
                };
                Arc::new(self.0.explain(&one.call, end))
            })
        })
    }

    pub(super) fn lend(&self) -> Loan<Inner> {
        self.0.lend()
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder::new(RecordConfig::default())
    }
}

/// For the time line: breakers that open and close are told with the time at which they did, however soon that is over.
/// Calls that are turned away cost nothing here.
impl Observe<BreakerEvent> for Recorder {
    fn observe(&self, event: &BreakerEvent) {
        self.0.heard.breaker(event);
    }
}

/// The same of endpoints that are ejected and return, and of panic.
impl Observe<BalanceEvent> for Recorder {
    fn observe(&self, event: &BalanceEvent) {
        self.0.heard.balance(event);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The share of calls that is kept, of 2^64.
    #[inline]
    pub(super) fn sample(&self) -> u64 {
        self.sample
    }

    #[inline]
    pub(super) fn methods(&self) -> &Methods {
        &self.methods
    }

    fn explain(&self, call: &Call, end: End) -> Explanation {
        let method = call.place.and_then(|place| self.methods.name(place)).unwrap_or(call.method.as_str());
        explain::explain(call, method, end, self.endpoints.get())
    }

    pub(super) fn cancelled(&self) {
        self.counts.add(CANCELLED, 1);
    }

    #[inline]
    pub(super) fn attempted(&self) {
        self.counts.add(ATTEMPTS, 1);
    }

    /// Counts a call, and keeps it if it is one to be kept.
    #[inline]
    pub(super) fn ended(&self, call: Box<Call>, now: Instant, answer: Result<&Response, &BoxError>) {
        let took = now.saturating_duration_since(call.began);
        let (count, ended) = match answer {
            Ok(response) if !response.is_fault() => (OK, Ended::Ok),
            Ok(_) => (FAULTS, Ended::Fault),
            Err(_) => (FAILED, Ended::Failed),
        };
        let bucket = bucket(took.as_micros() as u64);
        self.counts.add(count, 1);
        self.counts.add(bucket, 1);
        match call.place {
            Some(place) => self.methods.ended(place, ended, bucket),
            None => self.methods.ended_elsewhere(&call.method, is_known(answer), ended, bucket),
        }
        let second = now.saturating_duration_since(self.began).as_secs() + 1;
        if second > self.second.load(Relaxed) {
            self.next_second(now, second);
        }
        if ended != Ended::Ok {
            self.keep(&call, took, answer);
        } else if call.sampled {
            return self.keep_one_of_the_sample(call, took);
        }
        call.over();
    }

    /// The first one in a new second ends the slice before it. Who finds the lock taken leaves it to that one.
    #[cold]
    fn next_second(&self, now: Instant, second: u64) {
        if let Ok(mut history) = self.history.try_lock() {
            self.second.store(second, Relaxed);
            history.cut(now, |count| self.counts.total(count));
            self.methods.cut(now, second);
        }
    }

    #[cold]
    fn keep(&self, call: &Call, took: Duration, answer: Result<&Response, &BoxError>) {
        let end = End::of(answer, took, self.config.messages());
        self.failed.push(Arc::new(self.explain(call, end)));
    }

    #[cold]
    fn keep_one_of_the_sample(&self, call: Box<Call>, took: Duration) {
        if let Some(oldest) = self.sampled.push(Sampled { call, took, at_ms: now_ms() }) {
            oldest.call.over();
        }
    }

    /// What could be chosen from, in a sentence; `None`: there are no endpoints, or it was asked too often.
    #[cold]
    pub(super) fn choice(&self, picked: Option<EndpointId>) -> Option<Box<str>> {
        let endpoints = self.endpoints.get()?;
        let second = Clock::now().saturating_duration_since(self.began).as_secs();
        let looks = self.looks.load(Relaxed);
        let looks = if looks >> 8 == second { looks & 0xff } else { 0 };
        if looks >= LOOKS {
            return None;
        }
        self.looks.store(second << 8 | (looks + 1), Relaxed);
        Some(choice(&endpoints.endpoints(), picked).into())
    }
}

/// Whether the method is not said to be unknown.
fn is_known(answer: Result<&Response, &BoxError>) -> bool {
    let kind = match answer {
        Ok(response) if response.is_fault() => {
            Brief::from_response(response).ok().and_then(|brief| ErrorKind::from_code(brief.code.as_str()))
        }
        Ok(_) => None,
        Err(error) => Error::find(&**error).map(Error::kind),
    };
    kind != Some(ErrorKind::UnknownMethod)
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("config", &self.0.config).finish_non_exhaustive()
    }
}
