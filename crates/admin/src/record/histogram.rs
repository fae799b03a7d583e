//! Times in buckets: a few bits of each are kept, so that all are wrong by the same share at most.

/// Each power of two is cut into so many, so that a time is known to about 6 %.
const PARTS: u64 = 16;
const PART_BITS: u32 = PARTS.trailing_zeros();
/// Up to 2^26 µs, which is above a minute; what takes longer is in the last bucket.
const TOP_BITS: u32 = 26;

/// How many buckets there are.
pub(super) const BUCKETS: usize = ((TOP_BITS - PART_BITS + 1) as u64 * PARTS) as usize;

/// The bucket of a time. Below 16 µs there is one for each microsecond; above, the highest bit and the four after it
/// name it (log-linear, as in HdrHistogram: <http://hdrhistogram.org/>).
#[inline]
pub(super) fn bucket(micros: u64) -> usize {
    if micros < PARTS {
        return micros as usize;
    }
    let shift = (63 - micros.leading_zeros()).saturating_sub(PART_BITS);
    let part = micros >> shift;
    ((u64::from(shift) * PARTS + part) as usize).min(BUCKETS - 1)
}

/// The highest time in a bucket, in microseconds.
pub(super) fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * PARTS {
        return bucket;
    }
    let shift = bucket / PARTS - 1;
    ((bucket % PARTS + PARTS + 1) << shift) - 1
}

/// The time that this share of the calls took at most; `None` if there are none.
pub(super) fn percentile(counts: &[u64], share: f64) -> Option<u64> {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = ((all as f64 * share).ceil() as u64).clamp(1, all);
    let mut seen = 0;
    let found = counts.iter().position(|count| {
        seen += count;
        seen >= wanted
    });
    found.map(upper)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_each_other() {
        for micros in 1..100_000u64 {
            let step = bucket(micros) - bucket(micros - 1);
            assert!(step <= 1, "{micros}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket(1 << TOP_BITS), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn a_time_is_known_to_seven_per_cent(micros in 0u64..(1 << 26)) {
            let upper = upper(bucket(micros));
            prop_assert!(upper >= micros);
            prop_assert!(upper as f64 <= micros as f64 * 1.07, "{} {}", micros, upper);
        }

        #[test]
        fn a_percentile_is_that_of_the_sorted_times(mut times in prop::collection::vec(0u64..1_000_000, 1..200), share in 0.01f64..=1.0) {
            let mut counts = vec![0; BUCKETS];
            times.iter().for_each(|time| counts[bucket(*time)] += 1);
            times.sort_unstable();
            let rank = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len());
            prop_assert_eq!(percentile(&counts, share), Some(upper(bucket(times[rank - 1]))));
        }
    }
}
