//! How long answers take: a percentile of the last ten seconds, cheap to record into and to ask.

use std::{
    array, fmt,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;
use towpath_core::Tally;

/// For how many seconds an answer counts.
const WINDOW: u64 = 10;
/// Each power of two is cut into so many: what is told is at most an eighth too long.
const CUTS: u64 = 8;
/// Up to 2^27 µs, more than two minutes; what takes longer counts as that.
const BUCKETS: usize = 8 * 26;

/// Exact counts of answers by how long they took. To record one is a load and a store; once in a second, one
/// of those who record works out the percentile.
pub(crate) struct Latency {
    seen: Tally<BUCKETS>,
    base: OnceLock<Instant>,
    /// The second up to which the percentile is worked out.
    second: AtomicU64,
    /// In ns; 0: too few were seen.
    delay: AtomicU64,
    ends: Mutex<Ends>,
}

/// All that had been seen at the end of each second of the window.
struct Ends {
    marks: [[u64; BUCKETS]; WINDOW as usize],
    /// The last second whose end is marked, plus one.
    next: u64,
}

impl Latency {
    pub(crate) fn new() -> Self {
        Latency {
            seen: Tally::new(),
            base: OnceLock::new(),
            second: AtomicU64::new(0),
            delay: AtomicU64::new(0),
            ends: Mutex::new(Ends { marks: [[0; BUCKETS]; WINDOW as usize], next: 0 }),
        }
    }

    /// An answer came after `took`. Every second it is worked out how long the percentile that is `wanted` took
    /// within the window, if there were at least `min_seen`.
    #[inline]
    pub(crate) fn record(&self, now: Instant, took: Duration, wanted: impl Fn() -> f64, min_seen: u64) {
        self.seen.add(bucket(took), 1);
        let base = *self.base.get_or_init(|| now);
        let second = now.saturating_duration_since(base).as_secs();
        if second > self.second.load(Relaxed) {
            self.turn(second, wanted(), min_seen);
        }
    }

    /// The percentile as it was at the end of the last second; `None` as long as too few were seen.
    #[inline]
    pub(crate) fn delay(&self) -> Option<Duration> {
        match self.delay.load(Relaxed) {
            0 => None,
            ns => Some(Duration::from_nanos(ns)),
        }
    }

    #[cold]
    fn turn(&self, second: u64, percentile: f64, min_seen: u64) {
        // One thread at a time; who comes second has nothing to do.
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if second <= self.second.load(Relaxed) {
            return;
        }
        let now: [u64; BUCKETS] = array::from_fn(|bucket| self.seen.total(bucket));
        // At the end of the second before this one. The seconds between had nothing.
        for ended in ends.next.max(second.saturating_sub(WINDOW))..second {
            ends.marks[(ended % WINDOW) as usize] = now;
        }
        ends.next = second;
        // What is next to be overwritten is as old as the window is long; nothing, at the beginning.
        let old = match second >= WINDOW {
            true => ends.marks[(second % WINDOW) as usize],
            false => [0; BUCKETS],
        };
        let within: [u64; BUCKETS] = array::from_fn(|bucket| now[bucket] - old[bucket]);
        self.delay.store(percentile_of(&within, percentile, min_seen), Relaxed);
        self.second.store(second, Relaxed);
    }
}

/// In ns, at the upper end of its bucket; 0 if too few were seen.
fn percentile_of(within: &[u64; BUCKETS], percentile: f64, min_seen: u64) -> u64 {
    let seen: u64 = within.iter().sum();
    if seen < min_seen.max(1) {
        return 0;
    }
    let rank = ((seen as f64 * percentile / 100.0).ceil() as u64).clamp(1, seen);
    let mut below = 0;
    let bucket = within.iter().position(|count| {
        below += count;
        below >= rank
    });
    upper_us(bucket.unwrap_or(BUCKETS - 1)) * 1_000
}

/// Below 8 µs there is a bucket for each; from there on eight for each power of two.
fn bucket(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if us < CUTS {
        return us as usize;
    }
    let power = u64::from(us.ilog2());
    // The three bits below the highest.
    let cut = (us >> (power - 3)) & (CUTS - 1);
    ((CUTS * (power - 2) + cut) as usize).min(BUCKETS - 1)
}

/// What everything in a bucket is shorter than, in µs.
fn upper_us(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < CUTS {
        return bucket + 1;
    }
    let (power, cut) = (bucket / CUTS + 2, bucket % CUTS);
    (CUTS + cut + 1) << (power - 3)
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latency").field("delay", &self.delay()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::thread;

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    proptest! {
        #[test]
        fn a_bucket_tells_at_most_an_eighth_too_much(n in 0u64..(1 << 28)) {
            let upper = upper_us(bucket(us(n)));
            if n < 1 << 28 && bucket(us(n)) < BUCKETS - 1 {
                prop_assert!(n < upper && upper <= n + n / 8 + 1, "{n} {upper}");
            }
            prop_assert!(bucket(us(n)) <= bucket(us(n + 1)));
        }

        #[test]
        fn a_percentile_is_that_of_the_sorted_list(
            mut all in prop::collection::vec(0u64..1_000_000, 1..300),
            percentile in 0.1f64..99.9,
        ) {
            let mut within = [0; BUCKETS];
            all.iter().for_each(|n| within[bucket(us(*n))] += 1);
            all.sort_unstable();
            let rank = ((all.len() as f64 * percentile / 100.0).ceil() as usize).clamp(1, all.len());
            let exact = all[rank - 1];
            let told = percentile_of(&within, percentile, 1) / 1_000;
            prop_assert_eq!(told, upper_us(bucket(us(exact))));
            prop_assert_eq!(percentile_of(&within, percentile, all.len() as u64 + 1), 0);
        }
    }

    #[test]
    fn the_window_is_ten_seconds() {
        let (latency, base) = (Latency::new(), Instant::now());
        let at = |s: u64, took: Duration| latency.record(base + Duration::from_secs(s), took, || 50.0, 10);
        (0..100).for_each(|_| at(0, us(1_000)));
        assert_eq!(latency.delay(), None, "the first second is not over");
        at(1, us(5_000));
        let told = latency.delay().unwrap();
        assert!(told > us(1_000) && told <= us(1_125), "{told:?}");
        // 1 ms a hundred times is remembered until it is older than ten seconds.
        (2..10).for_each(|s| at(s, us(5_000)));
        assert!(latency.delay().unwrap() < us(1_200));
        (10..40).for_each(|s| (0..10).for_each(|_| at(s, us(5_000))));
        assert!(latency.delay().unwrap() > us(5_000));
        // A long silence: nothing to go by.
        at(100, us(5_000));
        at(101, us(5_000));
        assert_eq!(latency.delay(), None);
    }

    #[test]
    fn threads_lose_nothing() {
        let (latency, base) = (Latency::new(), Instant::now());
        thread::scope(|scope| {
            for thread in 0..4 {
                let latency = &latency;
                scope.spawn(move || {
                    for n in 0..10_000u64 {
                        let now = base + Duration::from_millis(n / 10);
                        latency.record(now, us(100 * (thread + 1)), || 50.0, 1);
                    }
                });
            }
        });
        assert_eq!((0..BUCKETS).map(|bucket| latency.seen.total(bucket)).sum::<u64>(), 40_000);
    }
}
