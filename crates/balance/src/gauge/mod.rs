//! What is measured of one endpoint: a cache line of atomics.

mod arena;
mod flight;
pub(crate) mod pace;

pub(crate) use arena::{Arena, Key};

use crate::sync::{AtomicU32, AtomicU64};
use flight::{Entered, Flight};
use pace::Tick;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use towpath_core::EndpointId;

/// It takes calls.
pub(crate) const USABLE: u32 = 1;
/// It has only a growing share of the calls for a while.
pub(crate) const RAMPING: u32 = 2;
/// It has no connection: if no other one takes calls, they wait for it.
pub(crate) const HOPEFUL: u32 = 8;
/// It is no more.
pub(crate) const GONE: u32 = 4;
/// It takes calls, and nothing speaks against it.
pub(crate) const WELL: u32 = 16;

/// What is measured of one endpoint, and what else a pick has to know of it: one cache line, so that a pick among very
/// many touches no more than two that are cold.
#[repr(align(64))]
pub(crate) struct Gauge {
    pub(crate) flight: Flight,
    /// The endpoint's. As the rest up to `risen` it is written by who tends the fleet only.
    id: AtomicU64,
    /// The bits of an `f32`.
    weight: AtomicU32,
    flags: AtomicU32,
    /// When its share began to grow.
    risen: AtomicU32,
    latency: AtomicU64,
    failures: AtomicU64,
    /// What it reported of itself: calls in work there, and when.
    report: AtomicU64,
    /// How often the count of picks began again.
    wraps: AtomicU32,
}

impl Gauge {
    pub(crate) fn new() -> Self {
        Gauge {
            flight: Flight::new(),
            id: AtomicU64::new(0),
            weight: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            risen: AtomicU32::new(0),
            latency: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            report: AtomicU64::new(0),
            wraps: AtomicU32::new(0),
        }
    }

    /// It is this endpoint's from now on.
    pub(crate) fn assign(&self, id: EndpointId, weight: f32) {
        self.id.store(id.0, Relaxed);
        self.weight.store(weight.to_bits(), Relaxed);
    }

    #[inline]
    pub(crate) fn id(&self) -> EndpointId {
        EndpointId(self.id.load(Relaxed))
    }

    #[inline]
    pub(crate) fn weight(&self) -> f32 {
        f32::from_bits(self.weight.load(Relaxed))
    }

    /// As new, but for its generation. Nobody else uses it.
    fn reset(&self) {
        self.flags.store(0, Relaxed);
        self.latency.store(0, Relaxed);
        self.failures.store(0, Relaxed);
        self.report.store(0, Relaxed);
        self.wraps.store(0, Relaxed);
    }

    /// Counts a call, until it [leaves](Self::leave); `false`: the gauge is another endpoint's by now.
    #[inline]
    pub(crate) fn enter(&self, generation: u16) -> bool {
        match self.flight.enter(generation) {
            Entered::Counted => true,
            Entered::TooLate => false,
            Entered::Wrapped => {
                self.wraps.fetch_add(1, Relaxed);
                true
            }
        }
    }

    /// Whether this is another endpoint's by now, or nobody's.
    pub(crate) fn is_over(&self, generation: u16) -> bool {
        self.flight.generation() != generation || self.flags() & GONE != 0
    }

    #[inline]
    pub(crate) fn leave(&self) {
        self.flight.leave();
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.flight.in_flight()
    }

    /// All calls that it was picked for.
    pub(crate) fn picks(&self) -> u64 {
        u64::from(self.wraps.load(Relaxed)) << 24 | self.flight.picks()
    }

    #[inline]
    pub(crate) fn flags(&self) -> u32 {
        self.flags.load(Acquire)
    }

    pub(crate) fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Release);
    }

    /// When its share began to grow.
    pub(crate) fn risen(&self) -> Tick {
        self.risen.load(Relaxed)
    }

    pub(crate) fn set_risen(&self, at: Tick) {
        self.risen.store(at, Relaxed);
    }

    /// An answer took so long.
    #[inline]
    pub(crate) fn took(&self, nanos: f32, now: Tick, per_tick: f32) {
        update(&self.latency, |word| pace::observe_latency(word, nanos, now, per_tick));
    }

    /// There is no answer after so long: it would have taken longer.
    pub(crate) fn took_at_least(&self, nanos: f32, now: Tick, per_tick: f32) {
        let longer = |word| match word != 0 && pace::unpack(word).0 >= nanos {
            true => None,
            false => pace::observe_latency(word, nanos, now, per_tick),
        };
        update(&self.latency, longer);
    }

    /// A call ended. Before [`took`](Self::took), which says when the last one did.
    #[inline]
    pub(crate) fn ended(&self, failed: bool, now: Tick, per_tick: f32) {
        if failed || self.failures.load(Relaxed) != 0 {
            let latency = self.latency.load(Relaxed);
            let before = (latency != 0).then(|| pace::unpack(latency).1);
            update(&self.failures, |word| pace::observe_end(word, failed, before, now, per_tick));
        }
    }

    /// It asked for so many ticks without calls.
    #[cold]
    pub(crate) fn asked_for(&self, ticks: u32, now: Tick, per_tick: f32) {
        update(&self.failures, |word| Some(pace::observe_plea(word, ticks, now, per_tick)));
    }

    /// It has so many calls in work, it says.
    pub(crate) fn reported(&self, in_flight: u32, now: Tick) {
        self.report.store(u64::from(in_flight) << 32 | u64::from(now), Relaxed);
    }

    /// Whether nothing failed there, and it reported nothing.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.failures.load(Relaxed) | self.report.load(Relaxed) == 0
    }

    /// What it reported last: calls in work, and how long ago. `None`: it does not report.
    #[inline]
    pub(crate) fn report(&self, now: Tick) -> Option<(u32, u32)> {
        match self.report.load(Relaxed) {
            0 => None,
            word => Some(((word >> 32) as u32, pace::since(word as u32, now))),
        }
    }

    #[inline]
    pub(crate) fn latency(&self, usual: f32, now: Tick, per_tick: f32) -> f32 {
        pace::latency(self.latency.load(Relaxed), usual, now, per_tick)
    }

    /// Whether it has failed lately, or was slower than that once: what is known has to be looked at closely.
    #[inline]
    pub(crate) fn may_be_poor(&self, nanos: f32, by_latency: bool) -> bool {
        self.failures.load(Relaxed) != 0 || (by_latency && pace::unpack(self.latency.load(Relaxed)).0 > nanos)
    }

    /// Whether any answer has come.
    pub(crate) fn has_answered(&self) -> bool {
        self.latency.load(Relaxed) != 0
    }

    #[inline]
    pub(crate) fn failures(&self, now: Tick, per_tick: f32) -> f32 {
        pace::failures(self.failures.load(Relaxed), now, per_tick)
    }
}

/// Sets a word to what `next` makes of it, if it makes anything.
#[inline]
pub(crate) fn update(cell: &AtomicU64, next: impl Fn(u64) -> Option<u64>) {
    let mut before = cell.load(Relaxed);
    while let Some(after) = next(before) {
        match cell.compare_exchange_weak(before, after, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(current) => before = current,
        }
    }
}
