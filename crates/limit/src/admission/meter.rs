//! How long calls take, window by window, without a locked instruction on the path of a call.

use crate::{
    Window,
    sync::{AtomicU32, AtomicU64, Mutex, lock},
};
use std::{
    sync::{
        OnceLock,
        atomic::Ordering::{Acquire, Relaxed, Release},
    },
    time::Duration,
};
use tokio::time::Instant;
use towpath_core::Tally;

/// No window is shorter,
const SHORTEST: u64 = 100_000_000;
/// and none with fewer calls than this ends before `LONGEST`:
const ENOUGH: u64 = 50;
const LONGEST: u64 = 1_000_000_000;
/// nor at all with fewer than this; it is forgotten at `TOO_LONG`.
const FEWEST: u64 = 10;
const TOO_LONG: u64 = 10_000_000_000;

const CALLS: usize = 0;
const NANOS: usize = 1;
const DROPPED: usize = 2;

pub(super) struct Meter {
    base: OnceLock<Instant>,
    /// Since `base`: before this nobody needs to look whether the window ends.
    look_at: AtomicU64,
    sums: Tally<3>,
    /// Whether a call found no room in this window.
    saturated: AtomicU32,
    began: Mutex<Began>,
}

/// When the window began, and what the sums were.
#[derive(Clone, Copy, Default)]
struct Began {
    at: u64,
    sums: [u64; 3],
}

impl Meter {
    pub(super) fn new() -> Self {
        Meter {
            base: OnceLock::new(),
            look_at: AtomicU64::new(SHORTEST),
            sums: Tally::new(),
            saturated: AtomicU32::new(0),
            began: Mutex::default(),
        }
    }

    /// A call found no room.
    pub(super) fn saturate(&self) {
        if self.saturated.load(Relaxed) == 0 {
            self.saturated.store(1, Relaxed);
        }
    }

    /// A call failed because there was too much to do.
    pub(super) fn dropped(&self) {
        self.sums.add(DROPPED, 1);
    }

    /// A call took from `start` to `end`. Answers with the window that ends with it, if it does: to one caller only.
    #[inline]
    pub(super) fn answered(
        &self,
        start: Instant,
        end: Instant,
        limit: impl FnOnce() -> u32,
    ) -> Option<Window> {
        self.sums.add(CALLS, 1);
        self.sums.add(NANOS, nanos(end.saturating_duration_since(start)));
        let now = nanos(end.saturating_duration_since(*self.base.get_or_init(|| start)));
        if now < self.look_at.load(Acquire) { None } else { self.end(now, limit) }
    }

    pub(super) fn now(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(*self.base.get_or_init(|| now)))
    }

    #[cold]
    fn end(&self, now: u64, limit: impl FnOnce() -> u32) -> Option<Window> {
        // Another one is at it.
        let mut began = self.began.try_lock().ok()?;
        if now < self.look_at.load(Acquire) {
            return None;
        }
        let sums = [CALLS, NANOS, DROPPED].map(|sum| self.sums.total(sum));
        let [calls, latency, dropped] = std::array::from_fn(|sum| sums[sum] - began.sums[sum]);
        let length = now.saturating_sub(began.at);
        let is_enough = calls >= ENOUGH || (length >= LONGEST && calls >= FEWEST);
        if !is_enough && length < TOO_LONG {
            // When there will be enough, if calls go on coming as they do; at least a tenth of the shortest.
            let missing = SHORTEST / ENOUGH * (ENOUGH - calls);
            self.look_at.store(now + missing.max(SHORTEST / 10), Release);
            return None;
        }
        *began = Began { at: now, sums };
        self.look_at.store(now + SHORTEST, Release);
        // Who asks for the limit may hold what a restart waits for.
        drop(began);
        let saturated = self.saturated.swap(0, Relaxed) == 1;
        let (length, latency) = (Duration::from_nanos(length), Duration::from_nanos(latency / calls.max(1)));
        is_enough.then(|| Window { length, calls, latency, dropped, saturated, limit: limit() })
    }

    /// Forgets what was measured since the last window.
    pub(super) fn restart(&self) {
        let mut began = lock(&self.began);
        began.sums = [CALLS, NANOS, DROPPED].map(|sum| self.sums.total(sum));
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000_000 + u64::from(duration.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_window_ends_when_there_is_enough() {
        let (meter, start) = (Meter::new(), Instant::now());
        let mut ended = Vec::new();
        meter.now(start);
        // One call a millisecond, each of which took 10: the hundredth ends the window.
        for n in 1..=250 {
            let end = start + ms(n);
            ended.extend(meter.answered(end - ms(10), end, || 7).map(|window| (n, window)));
            if n == 150 {
                meter.saturate();
                meter.dropped();
            }
        }
        let window =
            Window { length: ms(100), calls: 100, latency: ms(10), dropped: 0, saturated: false, limit: 7 };
        assert_eq!(ended, [(100, window), (200, Window { dropped: 1, saturated: true, ..window })]);
        assert_eq!((window.throughput(), window.in_flight()), (1_000.0, 10.0));
    }

    #[test]
    fn few_calls_take_longer_and_very_few_tell_nothing() {
        let (meter, start) = (Meter::new(), Instant::now());
        meter.now(start);
        let at = |millis| {
            let end = start + ms(millis);
            meter.answered(end - ms(5), end, || 7).map(|window| (window.calls, window.length))
        };
        // One in 50 ms: 20 in the second.
        let ended: Vec<_> = (1..=21).filter_map(|n| at(n * 50)).collect();
        assert_eq!(ended.len(), 1);
        assert!(ended[0].0 >= 20 && ended[0].1 >= ms(1_000), "{ended:?}");
        // One in 2 s: never ten in 10 s.
        let ended: Vec<_> = (1..=21).filter_map(|n| at(2_000 + n * 2_000)).collect();
        assert_eq!(ended, []);
    }

    #[test]
    fn a_window_is_told_to_one_only() {
        let (meter, start) = (Meter::new(), Instant::now());
        meter.now(start);
        let ended = Tally::<2>::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 1..=20_000u64 {
                        let end = start + Duration::from_micros(n * 100);
                        if let Some(window) = meter.answered(end - ms(1), end, || 1) {
                            ended.add(0, 1);
                            ended.add(1, window.calls);
                        }
                    }
                });
            }
        });
        assert!(ended.total(0) <= 20, "{ended:?}");
        assert!(ended.total(1) <= 80_000, "{ended:?}");
    }
}
