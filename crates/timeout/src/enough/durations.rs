//! How long calls take: a pure machine.

use std::time::Duration;
use tokio::time::Instant;

/// Buckets to an octave: a bucket is at most an eighth wider than its lower end.
const PARTS: u32 = 8;
/// Up to 2^31 µs, a good half hour; what is longer counts as that.
const BUCKETS: usize = 30 * PARTS as usize;
/// With fewer observations than this, nothing is said: one slow call is no rule.
pub(crate) const FEWEST: u64 = 20;

/// Durations in buckets (logarithmic, as HdrHistogram has them), whose counts are halved in each half-life.
#[derive(Debug)]
pub(crate) struct Durations {
    buckets: Box<[u32; BUCKETS]>,
    /// Their sum.
    weight: u64,
    /// When they are halved the next time.
    due: Option<Instant>,
}

impl Durations {
    pub(crate) fn new() -> Self {
        Durations { buckets: Box::new([0; BUCKETS]), weight: 0, due: None }
    }

    /// Forgets what the time that has passed makes it forget; whether that was anything.
    pub(crate) fn turn(&mut self, now: Instant, half_life: Duration) -> bool {
        let due = *self.due.get_or_insert(now + half_life);
        if now < due {
            return false;
        }
        let halves = 1 + now.duration_since(due).as_nanos() / half_life.as_nanos().max(1);
        for bucket in self.buckets.iter_mut() {
            *bucket = bucket.checked_shr(u32::try_from(halves).unwrap_or(u32::MAX)).unwrap_or(0);
        }
        self.weight = self.buckets.iter().map(|bucket| u64::from(*bucket)).sum();
        self.due = Some(now + half_life);
        true
    }

    /// A call took this long.
    pub(crate) fn add(&mut self, took: Duration) {
        let bucket = &mut self.buckets[bucket(took)];
        if *bucket < u32::MAX {
            *bucket += 1;
            self.weight += 1;
        }
    }

    /// The duration which this share of the calls does not exceed, rounded down to its bucket: a call that is
    /// judged by it is judged mildly. `None` if too little is known.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<Duration> {
        if self.weight < FEWEST {
            return None;
        }
        let rank = (quantile * self.weight as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let at = self.buckets.iter().position(|bucket| {
            below += u64::from(*bucket);
            below >= rank
        })?;
        Some(lower_end(at))
    }
}

fn bucket(took: Duration) -> usize {
    let us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
    if us < PARTS {
        return us as usize;
    }
    // The highest bit says which octave, the three below it which part.
    let octave = us.ilog2() - PARTS.ilog2();
    let part = (us >> octave) - PARTS;
    ((octave + 1) * PARTS + part).min(BUCKETS as u32 - 1) as usize
}

fn lower_end(bucket: usize) -> Duration {
    let (octave, part) = (bucket as u32 / PARTS, bucket as u32 % PARTS);
    let us = if octave == 0 { part } else { (PARTS + part) << (octave - 1) };
    Duration::from_micros(u64::from(us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HALF_LIFE: Duration = Duration::from_secs(1);

    proptest! {
        /// Against sorting them all.
        #[test]
        fn a_quantile_is_off_by_an_eighth_at_most(
            took in proptest::collection::vec(0u64..4_000_000_000, 20..200),
            quantile in 0.01f64..0.99,
        ) {
            let mut durations = Durations::new();
            took.iter().for_each(|us| durations.add(Duration::from_micros(*us)));
            let mut sorted: Vec<u64> = took.iter().map(|us| (*us).min((1 << 32) - (1 << 28))).collect();
            sorted.sort_unstable();
            let rank = (quantile * sorted.len() as f64).ceil().max(1.0) as usize;
            let exact = sorted[rank - 1] as f64;
            let said = durations.quantile(quantile).unwrap().as_micros() as f64;
            prop_assert!(said <= exact && exact <= said * 1.125 + 1.0, "{said} for {exact}");
        }

        #[test]
        fn buckets_are_in_order(us in 0u32..u32::MAX) {
            let at = |us: u32| bucket(Duration::from_micros(u64::from(us)));
            prop_assert!(at(us) <= at(us + 1) && lower_end(at(us)).as_micros() <= u128::from(us));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_counts_less_and_is_forgotten() {
        let mut durations = Durations::new();
        let start = Instant::now();
        durations.turn(start, HALF_LIFE);
        (0..100).for_each(|_| durations.add(Duration::from_millis(1)));
        durations.turn(start + HALF_LIFE / 2, HALF_LIFE);
        assert_eq!(durations.weight, 100);
        durations.turn(start + HALF_LIFE, HALF_LIFE);
        assert_eq!(durations.weight, 50);
        // A jump is seen when the new ones are more than the old ones.
        (0..60).for_each(|_| durations.add(Duration::from_millis(100)));
        assert!(durations.quantile(0.5).unwrap() > Duration::from_millis(80));
        durations.turn(start + 4 * HALF_LIFE, HALF_LIFE);
        assert_eq!(durations.weight, 50 / 8 + 60 / 8);
        assert_eq!(durations.quantile(0.5), None);
        durations.turn(start + 10_000 * HALF_LIFE, HALF_LIFE);
        assert_eq!(durations.weight, 0);
    }
}
