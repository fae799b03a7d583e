//! One breaker: the machine behind a lock, and in front of it what a call can see without one.

mod keep;
mod tell;

use self::keep::Kept;
use crate::{
    BreakerConfig, Change, Counts, Mode, State,
    event::Ended,
    settings::Settings,
    state::{Admitted, Gate, Machine, Refusal},
    sync::{AtomicU64, Mutex, MutexGuard, Ordering},
    window::Ring,
};
use fastrand::Rng;
use std::sync::{Arc, PoisonError};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use towpath_core::{Endpoint, Tally};

/// The gate in the low bits of [`Cell::word`].
const FREE: u64 = 0;
const ASK: u64 = 1;
/// Shut by an open breaker, and by a half-open one.
const SHUT: u64 = 2;
const SHUT_HALF: u64 = 3;
const GATE: u64 = 3;
/// Above them: whether a call that ends well and at once is only to be added to the tally.
const PLAIN: u64 = 4;
/// Then how often the config was replaced, as far as there is room,
const CONFIG: u32 = 3;
const CONFIG_BITS: u32 = 16;
/// and the epoch.
const EPOCH: u32 = CONFIG + CONFIG_BITS;

/// A word that there never is: what is admitted with it decides nothing.
const NO_WORD: u64 = u64::MAX;

/// The counts of [`Cell::tally`].
const GOOD: usize = 0;
const REJECTED: usize = 1;

/// One breaker.
///
/// What decides is in `inner`, changed under its lock and shown in `word` and `until` before the lock is left. A
/// call that is let through by a closed breaker and ends well reads `word` twice and adds to `tally`; a call
/// that is turned away reads `word` and `until`. All others lock.
pub(crate) struct Cell {
    name: Arc<str>,
    endpoint: Option<Endpoint>,
    settings: Arc<Settings>,
    /// Times below are nanoseconds from here.
    base: Instant,
    /// The gate, what else there is to know at a glance, and the epoch: what was admitted while it was the same belongs
    /// to the same state.
    word: AtomicU64,
    /// Until when a shut gate is shut; all ones: nobody knows.
    until: AtomicU64,
    /// When the current bucket ends; all ones if there are none.
    turn_at: AtomicU64,
    /// From which time on a call is slow; all ones: none is.
    slow: AtomicU64,
    /// Which version of the config is in use.
    version: AtomicU64,
    /// Why it opened: see [`pack`].
    why: AtomicU64,
    tally: Tally<2>,
    ring: Ring,
    inner: Mutex<Inner>,
    changes: watch::Sender<Option<Change>>,
    /// Somebody may get in who did not before.
    freed: Notify,
}

struct Inner {
    machine: Machine,
    config: Arc<BreakerConfig>,
    /// How often that was replaced.
    replaced: u64,
    /// All that ended and is not in the tally.
    locked: Counts,
    /// Those of them that were slow and good.
    slow_good: u64,
    window: Kept,
    /// What there was when the epoch began.
    epoch_totals: Counts,
    /// Failures in a row, and how many calls had ended well when the last of them was counted.
    consecutive: u32,
    good_before: u64,
    /// The window when it opened last.
    tripped: Counts,
    changes: u64,
}

/// A call was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// [`Cell::word`] as it was then, or the epoch alone.
    word: u64,
    /// It is a probe, and this is its slot.
    pub(crate) slot: Option<u16>,
}

/// What was seen of a breaker that lets every call through: while it is as it was then, and until that time, it lets the
/// next one through as well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calm {
    word: u64,
    until: Option<Instant>,
}

impl Calm {
    /// Nothing was seen.
    pub(crate) const NEVER: Calm = Calm { word: NO_WORD, until: None };
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Good,
    Bad { soft: bool },
    Nothing,
}

/// All that can be said of a breaker.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) mode: Mode,
    pub(crate) since: Instant,
    pub(crate) until: Option<Instant>,
    pub(crate) window: Counts,
    pub(crate) consecutive: u32,
    pub(crate) tripped: Counts,
    pub(crate) changes: u64,
}

impl Cell {
    pub(crate) fn new(
        name: Arc<str>,
        endpoint: Option<Endpoint>,
        settings: Arc<Settings>,
        now: Instant,
        rng: Rng,
    ) -> Self {
        // In this order: a config that is replaced meanwhile is read once more.
        let version = settings.config.version();
        let config = settings.config.get();
        let inner = Inner {
            machine: Machine::new(now, rng),
            config,
            replaced: 0,
            locked: Counts::default(),
            slow_good: 0,
            window: Kept::Calls { most: 0, from: 0 },
            epoch_totals: Counts::default(),
            consecutive: 0,
            good_before: 0,
            tripped: Counts::default(),
            changes: 0,
        };
        let cell = Cell {
            name,
            endpoint,
            settings,
            base: now,
            word: AtomicU64::new(FREE),
            until: AtomicU64::new(u64::MAX),
            turn_at: AtomicU64::new(u64::MAX),
            slow: AtomicU64::new(u64::MAX),
            version: AtomicU64::new(version),
            why: AtomicU64::new(0),
            tally: Tally::new(),
            ring: Ring::default(),
            inner: Mutex::new(inner),
            changes: watch::channel(None).0,
            freed: Notify::new(),
        };
        let mut inner = cell.lock();
        cell.restart(&mut inner, now);
        cell.leave(inner, now);
        cell
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    pub(crate) fn freed(&self) -> &Notify {
        &self.freed
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.tally.total(REJECTED)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<Change>> {
        self.changes.subscribe()
    }

    /// A call came.
    #[inline]
    pub(crate) fn admit(&self, now: Instant) -> Result<Pass, Refusal> {
        if self.settings.config.version() != self.version.load(Ordering::Relaxed) {
            self.reconfigure(now);
        }
        let word = self.word.load(Ordering::Acquire);
        if word & GATE == FREE {
            return Ok(Pass { word, slot: None });
        }
        self.admit_or_refuse(word, now)
    }

    /// What to remember of it, for the next call.
    pub(crate) fn calm(&self, now: Instant) -> Calm {
        let word = self.word.load(Ordering::Acquire);
        if word & GATE != FREE {
            return Calm::NEVER;
        }
        self.turn_if_due(now);
        // It was written before the word that we have read, or is that of a later state.
        let until = self.instant(self.turn_at.load(Ordering::Relaxed));
        Calm { word, until }
    }

    /// A call came, and a call before it saw this: `None` if that does not hold any more.
    #[inline]
    pub(crate) fn admit_calmly(&self, calm: &Calm, now: Instant) -> Option<Pass> {
        let same =
            self.word.load(Ordering::Acquire) == calm.word && calm.until.is_none_or(|until| now < until);
        same.then_some(Pass { word: calm.word, slot: None })
    }

    /// Whether every call is let through.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        self.word.load(Ordering::Acquire) & GATE == FREE
    }

    /// What is let through without being asked about: it decides nothing.
    pub(crate) fn pass_unasked() -> Pass {
        Pass { word: NO_WORD, slot: None }
    }

    /// Until when every call is turned away; `None`: some call may be let through.
    pub(crate) fn shut(&self, now: Instant) -> Option<Option<Instant>> {
        let word = self.word.load(Ordering::Acquire);
        if word & SHUT == 0 || self.in_panic() {
            return None;
        }
        let until = self.until.load(Ordering::Relaxed);
        (self.ns(now) < until).then(|| self.instant(until))
    }

    #[cold]
    fn admit_or_refuse(&self, word: u64, now: Instant) -> Result<Pass, Refusal> {
        // `until` was written before the word that we have read, or is that of a later state.
        let until = self.until.load(Ordering::Relaxed);
        let admitted = if word & SHUT != 0 && self.ns(now) < until {
            let state = if word & GATE == SHUT_HALF { State::HalfOpen } else { State::Open };
            Err(Refusal { state, until: self.instant(until) })
        } else {
            let mut inner = self.lock();
            let config = inner.config.clone();
            let admitted = inner.machine.admit(&config, now);
            self.leave(inner, now);
            admitted.map(|Admitted { epoch, slot }| Pass { word: epoch << EPOCH, slot })
        };
        match admitted {
            Err(_) if self.in_panic() => Ok(Cell::pass_unasked()),
            admitted => admitted,
        }
    }

    /// A call ended.
    #[inline]
    pub(crate) fn finish(&self, pass: Pass, outcome: Outcome, start: Instant, end: Instant) {
        let slow_ns = self.slow.load(Ordering::Relaxed);
        let slow = slow_ns != u64::MAX && nanos(end, start) >= slow_ns;
        if outcome != Outcome::Good || slow || pass.slot.is_some() {
            return self.settle(pass, outcome, slow, end);
        }
        let word = self.word.load(Ordering::Acquire);
        if word >> EPOCH != pass.word >> EPOCH {
            return;
        }
        self.turn_if_due(end);
        self.tally.add(GOOD, 1);
        if word & PLAIN == 0 {
            self.ring.push(Ended { failed: false, soft: false, slow: false });
        }
    }

    /// A call ended well, at the time at which it was admitted: then too little time has passed for it to be slow, and
    /// for anything to be turned. `false` if there is more to be done.
    #[inline]
    pub(crate) fn finish_at_once(&self, pass: Pass) -> bool {
        let plain =
            self.word.load(Ordering::Acquire) == pass.word && pass.word & (PLAIN | GATE) == PLAIN | FREE;
        if plain {
            self.tally.add(GOOD, 1);
        }
        plain
    }

    fn turn_if_due(&self, now: Instant) {
        let turn_at = self.turn_at.load(Ordering::Relaxed);
        if turn_at != u64::MAX && self.ns(now) >= turn_at {
            self.turn(now);
        }
    }

    /// A probe is given up: another one may take its place.
    #[cold]
    pub(crate) fn release(&self, pass: Pass) {
        let now = self.base;
        self.settle(pass, Outcome::Nothing, false, now);
    }

    #[cold]
    fn settle(&self, pass: Pass, outcome: Outcome, slow: bool, end: Instant) {
        if pass.word == NO_WORD || (pass.slot.is_none() && outcome == Outcome::Nothing) {
            return;
        }
        let mut inner = self.lock();
        // Under the lock nobody changes it: an old answer decides nothing.
        if inner.machine.epoch() != pass.word >> EPOCH {
            return;
        }
        let config = inner.config.clone();
        match (pass.slot, outcome) {
            (Some(slot), Outcome::Nothing) => inner.machine.release(slot),
            (Some(slot), outcome) => {
                let good = outcome == Outcome::Good && !slow;
                inner.machine.probed(&config, slot, good, end);
            }
            (None, outcome) => {
                let (failed, soft) = match outcome {
                    Outcome::Bad { soft } => (true, soft),
                    _ => (false, false),
                };
                self.count(&mut inner, Ended { failed, soft, slow }, &config, end);
            }
        }
        self.leave(inner, end);
    }

    pub(crate) fn set_mode(&self, mode: Mode, now: Instant) {
        let mut inner = self.lock();
        let config = inner.config.clone();
        inner.machine.set_mode(&config, mode, now);
        self.leave(inner, now);
    }

    pub(crate) fn view(&self, now: Instant) -> View {
        if self.settings.config.version() != self.version.load(Ordering::Relaxed) {
            self.reconfigure(now);
        }
        let mut inner = self.lock();
        self.turn_locked(&mut inner, now);
        View {
            state: inner.machine.state(),
            mode: inner.machine.mode(),
            since: inner.machine.since(),
            until: match inner.machine.gate(&inner.config) {
                Gate::Shut(until) => until,
                _ => None,
            },
            window: self.window(&inner),
            consecutive: inner.consecutive,
            tripped: inner.tripped,
            changes: inner.changes,
        }
    }

    fn in_panic(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.state().in_panic())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ns(&self, time: Instant) -> u64 {
        nanos(time, self.base)
    }

    fn instant(&self, ns: u64) -> Option<Instant> {
        (ns != u64::MAX).then(|| self.base + std::time::Duration::from_nanos(ns))
    }
}

/// From `since` to `time`, never all ones.
fn nanos(time: Instant, since: Instant) -> u64 {
    let time = time.saturating_duration_since(since);
    (time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into()))
        .min(u64::MAX - 1)
}
