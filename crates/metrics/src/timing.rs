//! How long things took, counted by size.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use towpath_core::Tally;

/// The upper bounds of the buckets of all histograms, in seconds; above them there is one more. From the time of a call in
/// the same rack to the usual deadline.
pub const BOUNDS: [f64; BUCKETS - 1] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

const BUCKETS: usize = 16;

/// The same in nanoseconds.
const BOUNDS_NS: [u64; BUCKETS - 1] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// Durations of one set of labels: how many, and how many nanoseconds together, in each bucket.
pub(crate) struct Timing {
    cells: Tally<{ 2 * BUCKETS }>,
    /// What was passed on already.
    told: Mutex<[u64; 2 * BUCKETS]>,
}

/// What is in one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) count: u64,
    pub(crate) nanos: u64,
}

impl Timing {
    pub(crate) fn new() -> Self {
        Timing { cells: Tally::new(), told: Mutex::new([0; 2 * BUCKETS]) }
    }

    #[inline]
    pub(crate) fn add(&self, took: Duration) {
        let nanos = took.as_nanos() as u64;
        // Most calls are short.
        let bucket = BOUNDS_NS.iter().position(|bound| nanos <= *bound).unwrap_or(BUCKETS - 1);
        self.cells.add_both([(2 * bucket, 1), (2 * bucket + 1, nanos)]);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        (0..BUCKETS).map(|bucket| self.cells.total(2 * bucket)).sum()
    }

    /// So many that took no time.
    pub(crate) fn add_zeros(&self, count: u64) {
        self.cells.add(0, count);
    }

    /// All that there is.
    pub(crate) fn buckets(&self) -> [Bucket; BUCKETS] {
        std::array::from_fn(|bucket| {
            // The sum first: what is in it is counted, too, or comes next time.
            let nanos = self.cells.total(2 * bucket + 1);
            Bucket { count: self.cells.total(2 * bucket), nanos }
        })
    }

    /// What is new since this was asked last.
    pub(crate) fn take(&self) -> [Bucket; BUCKETS] {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.buckets();
        std::array::from_fn(|bucket| {
            let (count, nanos) = (told[2 * bucket], told[2 * bucket + 1]);
            let Bucket { count: counted, nanos: summed } = now[bucket];
            if counted == count {
                return Bucket::default();
            }
            (told[2 * bucket], told[2 * bucket + 1]) = (counted, summed);
            Bucket { count: counted - count, nanos: summed - nanos }
        })
    }
}

impl Bucket {
    /// The mean of its durations, in seconds.
    pub(crate) fn mean(self) -> f64 {
        self.nanos as f64 / self.count.max(1) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_agree() {
        for (seconds, nanos) in BOUNDS.iter().zip(BOUNDS_NS) {
            assert_eq!((seconds * 1e9).round() as u64, nanos);
        }
    }

    #[test]
    fn each_is_counted_once_and_taken_once() {
        let timing = Timing::new();
        let durations = [0u64, 100_000, 100_001, 3_000_000, 3_000_000, 20_000_000_000];
        durations.iter().for_each(|nanos| timing.add(Duration::from_nanos(*nanos)));
        let all = timing.buckets();
        assert_eq!(all[0], Bucket { count: 2, nanos: 100_000 });
        assert_eq!(all[1], Bucket { count: 1, nanos: 100_001 });
        assert_eq!(all[5].mean(), 0.003);
        assert_eq!(all[BUCKETS - 1], Bucket { count: 1, nanos: 20_000_000_000 });
        assert_eq!(timing.take(), all);
        assert_eq!(timing.take(), [Bucket::default(); BUCKETS]);
        timing.add(Duration::from_nanos(7));
        assert_eq!(timing.take()[0], Bucket { count: 1, nanos: 7 });
    }
}
