//! What all services of one layer know together.

use super::{cap::Cap, config::EnoughTimeConfig, durations::Durations};
use crate::TooLittleLeft;
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;
use towpath_core::{Live, Tally};

/// Groups, where there are several.
const GROUPS: usize = 64;
/// So many calls of a group are observed before it is enough to observe one in [`ONE_IN`].
const ALL_OF_THE_FIRST: u32 = 64;
/// Of a busy group only one in so many calls is observed: to observe costs a reading of the clock and a lock.
const ONE_IN: u8 = 8;
/// What is observed is made known after so many calls.
const PUBLISH_EVERY: u32 = 16;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Live<EnoughTimeConfig>,
    calls: Tally,
    /// Taken only for calls that have too little left.
    cap: Mutex<Cap>,
    refused: AtomicU64,
    spared: AtomicU64,
    slots: Box<[Slot]>,
}

#[derive(Debug)]
struct Slot {
    /// What calls take, in ns, as of late; 0: not known.
    usual: AtomicU64,
    /// How many were observed since the last half-life.
    observed: AtomicU32,
    durations: Mutex<Durations>,
}

impl State {
    pub(crate) fn new(config: Live<EnoughTimeConfig>, several: bool) -> Self {
        let slot = |_| Slot {
            usual: AtomicU64::new(0),
            observed: AtomicU32::new(0),
            durations: Mutex::new(Durations::new()),
        };
        State {
            config,
            calls: Tally::new(),
            cap: Mutex::new(Cap::new()),
            refused: AtomicU64::new(0),
            spared: AtomicU64::new(0),
            slots: (0..if several { GROUPS } else { 1 }).map(slot).collect(),
        }
    }

    /// A call has come.
    #[inline]
    pub(crate) fn count(&self) {
        self.calls.add(0, 1);
    }

    /// Where the calls of a group are kept.
    #[inline]
    pub(crate) fn slot(&self, group: u64) -> usize {
        // The upper half decides as well.
        ((group ^ (group >> 32)) as usize) % self.slots.len()
    }

    /// How long calls in this slot take, as of late.
    #[inline]
    pub(crate) fn usual(&self, slot: usize) -> Duration {
        self.slots.get(slot).map_or(Duration::ZERO, |slot| Duration::from_nanos(slot.usual.load(Relaxed)))
    }

    /// Whether this call is to be observed, the `turn`th of its service.
    #[inline]
    pub(crate) fn observes(&self, slot: usize, turn: u8) -> bool {
        turn.is_multiple_of(ONE_IN)
            || self.slots.get(slot).is_some_and(|slot| slot.observed.load(Relaxed) < ALL_OF_THE_FIRST)
    }

    /// A call with less left than is usual, or than the minimum: whether that still holds, and whether it is
    /// refused.
    #[cold]
    pub(crate) fn judge(&self, slot: usize, left: Duration, now: Instant) -> Option<TooLittleLeft> {
        let config = self.config.get();
        if let Some(slot) = self.slots.get(slot) {
            // What was observed may be old: a quiet hour refuses nobody.
            let mut durations = lock(&slot.durations);
            durations.turn(now, config.half_life());
            slot.publish(&durations, &config);
        }
        let wanted = self.usual(slot).max(config.at_least());
        if left >= wanted {
            return None;
        }
        let refused = lock(&self.cap).refuse(self.calls.total(0), config.max_share());
        let count = if refused { &self.refused } else { &self.spared };
        count.fetch_add(1, Relaxed);
        Some(TooLittleLeft { left, wanted, refused })
    }

    /// A call took this long, or at least this long.
    pub(crate) fn observe(&self, slot: usize, took: Duration, now: Instant) {
        let Some(slot) = self.slots.get(slot) else { return };
        let config = self.config.get();
        let mut durations = lock(&slot.durations);
        if durations.turn(now, config.half_life()) {
            slot.observed.store(0, Relaxed);
        }
        durations.add(took);
        let observed = slot.observed.load(Relaxed).wrapping_add(1);
        slot.observed.store(observed, Relaxed);
        if observed.is_multiple_of(PUBLISH_EVERY) || slot.usual.load(Relaxed) == 0 {
            slot.publish(&durations, &config);
        }
    }

    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        // In this order: a call is counted before it is judged.
        let (refused, spared) = (self.refused.load(Relaxed), self.spared.load(Relaxed));
        (self.calls.total(0), refused, spared)
    }

    pub(crate) fn longest_usual(&self) -> Option<Duration> {
        let longest = self.slots.iter().map(|slot| slot.usual.load(Relaxed)).max().unwrap_or(0);
        (longest > 0).then(|| Duration::from_nanos(longest))
    }
}

impl Slot {
    fn publish(&self, durations: &Durations, config: &EnoughTimeConfig) {
        let usual = match config.quantile() {
            0.0 => None,
            quantile => durations.quantile(quantile),
        };
        let ns = usual.map_or(0, |usual| u64::try_from(usual.as_nanos()).unwrap_or(u64::MAX));
        self.usual.store(ns, Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in these sections can leave a value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
