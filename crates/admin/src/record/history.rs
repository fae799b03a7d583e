//! What was counted, second by second, for a minute.

use super::histogram::{BUCKETS, percentile};
use crate::view::{Point, Traffic};
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// Numbers of the counts behind those of the buckets.
pub(super) const OK: usize = BUCKETS;
pub(super) const FAULTS: usize = BUCKETS + 1;
pub(super) const FAILED: usize = BUCKETS + 2;
pub(super) const CANCELLED: usize = BUCKETS + 3;
pub(super) const ATTEMPTS: usize = BUCKETS + 4;
pub(super) const COUNTS: usize = BUCKETS + 5;

/// So many seconds are kept.
const KEPT: usize = 60;
/// So many of them make what is "now": a percentile of one second jumps about.
const NOW: usize = 10;

/// Differences of the totals, a slice for each second in which somebody counted or looked.
///
/// Nobody has to look each second: a slice says how long it is. It is cut by whoever comes first in a new second, which
/// is a call most often.
pub(super) struct History {
    totals: Vec<u64>,
    slices: VecDeque<Slice>,
    cut: Instant,
}

struct Slice {
    until: Instant,
    took: Duration,
    counts: Vec<u32>,
}

impl History {
    pub(super) fn new(now: Instant) -> Self {
        History { totals: vec![0; COUNTS], slices: VecDeque::new(), cut: now }
    }

    /// Ends the slice, if it is a second long.
    pub(super) fn cut(&mut self, now: Instant, total: impl Fn(usize) -> u64) {
        let took = now.saturating_duration_since(self.cut);
        // A timer that is early by a little is not to make a slice of two seconds.
        if took < Duration::from_millis(950) {
            return;
        }
        let mut counts = match self.slices.len() {
            KEPT => self.slices.pop_front().map(|slice| slice.counts).unwrap_or_default(),
            _ => Vec::new(),
        };
        counts.clear();
        counts.extend(self.totals.iter_mut().enumerate().map(|(count, known)| {
            let now = total(count);
            let more = now.saturating_sub(*known);
            *known = now;
            u32::try_from(more).unwrap_or(u32::MAX)
        }));
        self.slices.push_back(Slice { until: now, took, counts });
        self.cut = now;
    }

    pub(super) fn traffic(&self, now: Instant, total: impl Fn(usize) -> u64) -> Traffic {
        // What nobody has added to for long is not "now".
        let recent =
            |slice: &&Slice| now.saturating_duration_since(slice.until) < Duration::from_secs(NOW as u64);
        let mut sum = vec![0u64; COUNTS];
        let mut took = Duration::ZERO;
        for slice in self.slices.iter().rev().take(NOW).filter(recent) {
            took += slice.took;
            sum.iter_mut().zip(&slice.counts).for_each(|(sum, count)| *sum += u64::from(*count));
        }
        let (ok, faults, failed) = (sum[OK], sum[FAULTS], sum[FAILED]);
        let calls = ok + faults + failed;
        let seconds = took.as_secs_f64().max(f64::EPSILON);
        let times = &sum[..BUCKETS];
        let per_second = |count: u64| if took.is_zero() { 0.0 } else { count as f64 / seconds };
        Traffic {
            calls: total(OK) + total(FAULTS) + total(FAILED),
            faults: total(FAULTS),
            failed: total(FAILED),
            cancelled: total(CANCELLED),
            over_ms: took.as_millis() as u64,
            rate: per_second(calls),
            success: (calls > 0).then(|| ok as f64 / calls as f64),
            attempts: (calls > 0 && sum[ATTEMPTS] > 0).then(|| sum[ATTEMPTS] as f64 / calls as f64),
            p50_us: percentile(times, 0.5),
            p90_us: percentile(times, 0.9),
            p99_us: percentile(times, 0.99),
            max_us: percentile(times, 1.0),
            series: self.slices.iter().map(|slice| slice.point(now)).collect(),
        }
    }
}

impl Slice {
    fn point(&self, now: Instant) -> Point {
        let seconds = self.took.as_secs_f64();
        let counts: Vec<u64> = self.counts.iter().copied().map(u64::from).collect();
        Point {
            ago_ms: now.saturating_duration_since(self.until).as_millis() as u64,
            ok: counts[OK] as f64 / seconds,
            faults: counts[FAULTS] as f64 / seconds,
            failed: counts[FAILED] as f64 / seconds,
            p50_us: percentile(&counts[..BUCKETS], 0.5),
            p99_us: percentile(&counts[..BUCKETS], 0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::bucket;
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let begin = Instant::now();
        let mut history = History::new(begin);
        let mut totals = vec![0u64; COUNTS];
        for second in 1..=70u64 {
            totals[OK] += 90;
            totals[FAILED] += 10;
            totals[bucket(1_000)] += 99;
            totals[bucket(9_000)] += 1;
            history.cut(begin + Duration::from_secs(second), |count| totals[count]);
            // Too early for another one.
            history.cut(begin + Duration::from_millis(second * 1_000 + 100), |_| unreachable!());
        }
        let now = begin + Duration::from_secs(70);
        let traffic = history.traffic(now, |count| totals[count]);
        assert_eq!((traffic.calls, traffic.failed, traffic.over_ms), (7_000, 700, 10_000));
        assert_eq!((traffic.rate, traffic.success), (100.0, Some(0.9)));
        assert!((1_000..1_070).contains(&traffic.p90_us.unwrap()));
        assert!((9_000..9_600).contains(&traffic.max_us.unwrap()));
        assert_eq!(traffic.series.len(), 60);
        assert_eq!((traffic.series[59].ok, traffic.series[59].ago_ms), (90.0, 0));
        // When nothing came for a while, nothing comes.
        let late = history.traffic(now + Duration::from_secs(30), |count| totals[count]);
        assert_eq!((late.rate, late.success, late.calls), (0.0, None, 7_000));
    }

    #[test]
    fn a_long_slice_is_no_burst() {
        let begin = Instant::now();
        let mut history = History::new(begin);
        history.cut(begin + Duration::from_secs(5), |count| if count == OK { 50 } else { 0 });
        assert_eq!(history.traffic(begin + Duration::from_secs(5), |_| 0).rate, 10.0);
    }
}
