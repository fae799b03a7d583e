//! How many calls there were of late, and how many were accepted: without a locked instruction on the path of a call.

use super::ThrottleConfig;
use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, lock};
use std::sync::{
    OnceLock,
    atomic::Ordering::{Acquire, Relaxed, Release},
};
use tokio::time::Instant;
use towpath_core::{Live, Tally};

/// Into how many parts a window is divided, the current one included.
const PARTS: u64 = 24;

const CALLS: usize = 0;
const ACCEPTED: usize = 1;
/// A share of one, as it is kept.
const WHOLE: f64 = (1u64 << 32) as f64;

pub(super) struct Counter {
    pub(super) config: Live<ThrottleConfig>,
    sums: Tally<2>,
    /// When nanosecond 0 was.
    base: OnceLock<Instant>,
    /// Before this the share stays what it is, unless a call is refused: the end of the current part, or 0 while calls
    /// are held back or are too few for it.
    look_at: AtomicU64,
    /// A call was refused since the share was last worked out.
    is_stale: AtomicU32,
    share: AtomicU64,
    parts: Mutex<Parts>,
}

/// What the sums were when each part began: part `n` at `n` modulo their number.
struct Parts {
    current: u64,
    /// In nanoseconds.
    length: u64,
    began: [[u64; 2]; PARTS as usize],
}

impl Counter {
    pub(super) fn new(config: Live<ThrottleConfig>) -> Self {
        let parts = Parts { current: 0, length: length(&config.get()), began: [[0; 2]; PARTS as usize] };
        Counter {
            config,
            sums: Tally::new(),
            base: OnceLock::new(),
            look_at: AtomicU64::new(0),
            is_stale: AtomicU32::new(0),
            share: AtomicU64::new(0),
            parts: Mutex::new(parts),
        }
    }

    /// Which share of the calls is held back now.
    #[inline]
    pub(super) fn share(&self, now: Instant) -> f64 {
        let now = now.saturating_duration_since(*self.base.get_or_init(|| now));
        let now = now.as_secs() * 1_000_000_000 + u64::from(now.subsec_nanos());
        if now >= self.look_at.load(Acquire) || self.is_stale.load(Relaxed) == 1 {
            self.work_out(now);
        }
        self.share.load(Relaxed) as f64 / WHOLE
    }

    /// A call was accepted.
    #[inline]
    pub(super) fn accepted(&self) {
        self.sums.add(CALLS, 1);
        self.sums.add(ACCEPTED, 1);
    }

    /// A call was refused, there or here.
    pub(super) fn refused(&self) {
        self.sums.add(CALLS, 1);
        self.is_stale.store(1, Relaxed);
    }

    /// How many calls there were within the window, and how many of them were accepted.
    pub(super) fn window(&self) -> (u64, u64) {
        self.within(&lock(&self.parts))
    }

    #[cold]
    fn work_out(&self, now: u64) {
        // Another one is at it.
        let Ok(mut parts) = self.parts.try_lock() else { return };
        // What is refused from here on is seen by the next one.
        self.is_stale.store(0, Relaxed);
        let config = self.config.get();
        let length = length(&config);
        let sums = [CALLS, ACCEPTED].map(|sum| self.sums.total(sum));
        if length != parts.length {
            *parts = Parts { current: now / length, length, began: [sums; PARTS as usize] };
        }
        let current = now / length;
        // Calls that end while a part ends are of the one that ends.
        for part in (parts.current + 1).max((current + 1).saturating_sub(PARTS))..=current {
            parts.began[(part % PARTS) as usize] = sums;
        }
        parts.current = parts.current.max(current);
        let (calls, accepted) = self.within(&parts);
        let share = config.share(calls, accepted);
        self.share.store((share * WHOLE) as u64, Relaxed);
        // While there are too few calls to hold any back, one that is accepted may be the one that is enough.
        let stays = share == 0.0 && !config.is_too_few(calls);
        let next = if stays { (parts.current + 1) * length } else { 0 };
        self.look_at.store(next, Release);
    }

    fn within(&self, parts: &MutexGuard<'_, Parts>) -> (u64, u64) {
        let began = parts.began[((parts.current + 1) % PARTS) as usize];
        // In this order: who is seen to be accepted is seen to be a call.
        let accepted = self.sums.total(ACCEPTED).saturating_sub(began[ACCEPTED]);
        (self.sums.total(CALLS).saturating_sub(began[CALLS]), accepted)
    }
}

fn length(config: &ThrottleConfig) -> u64 {
    // At most an hour, as checked.
    (config.window().as_nanos() as u64).div_ceil(PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        /// Against the list of all calls.
        #[test]
        fn as_a_list_of_all_calls(
            steps in prop::collection::vec((0u64..3_000, 0u32..30, 0u32..30), 1..100)
        ) {
            let config = ThrottleConfig::try_new(2.0, Duration::from_secs(24)).unwrap();
            let (counter, start) = (Counter::new(config.into()), Instant::now());
            let (mut list, mut now) = (Vec::new(), 0);
            counter.share(start);
            for (gap, accepted, refused) in steps {
                now += gap;
                // The parts are seconds: the current one and the 23 before.
                let first = (now / 1_000).saturating_sub(23);
                let within: Vec<_> = list.iter().filter(|(at, _)| at / 1_000 >= first).collect();
                let calls = within.len() as u64;
                let ok = within.iter().filter(|(_, ok)| *ok).count() as u64;
                let share = counter.share(start + Duration::from_millis(now));
                prop_assert!((share - config.share(calls, ok)).abs() < 1e-6, "{share} {calls} {ok}");
                (0..accepted).for_each(|_| counter.accepted());
                (0..refused).for_each(|_| counter.refused());
                list.extend((0..accepted).map(|_| (now, true)));
                list.extend((0..refused).map(|_| (now, false)));
            }
        }
    }

    #[test]
    fn no_call_is_lost_among_threads() {
        let (counter, start) = (Counter::new(ThrottleConfig::default().into()), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..10_000 {
                        counter.share(start + Duration::from_micros(n));
                        if n % 4 == 0 { counter.accepted() } else { counter.refused() }
                    }
                });
            }
        });
        assert_eq!(counter.window(), (80_000, 20_000));
        assert!((counter.share(start) - 40_000.0 / 80_001.0).abs() < 1e-6);
    }
}
