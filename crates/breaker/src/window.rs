//! Which calls count: those of the last while, or the last so many.

use crate::event::{Counts, Ended};
use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// In how many buckets a window of time is.
const BUCKETS: u64 = 10;

/// A window of time over counts that only grow: it keeps what they were when each bucket ended, and nothing is
/// written for a call. Times are nanoseconds from wherever the caller counts.
pub(crate) struct Buckets {
    start: u64,
    bucket_ns: u64,
    /// The one that it is now.
    current: u64,
    /// The counts at the end of bucket *b*, at *b* modulo their number.
    marks: [Counts; BUCKETS as usize],
}

impl Buckets {
    /// Begins now.
    pub(crate) fn new(window_ns: u64, now: u64, totals: Counts) -> Self {
        let marks = [totals; BUCKETS as usize];
        Buckets { start: now, bucket_ns: (window_ns / BUCKETS).max(1), current: 0, marks }
    }

    /// Ends the buckets that are over. What is counted but was not there when this was called last belongs to
    /// the first of them. Time that goes back stands still.
    pub(crate) fn turn(&mut self, now: u64, totals: Counts) {
        let current = now.saturating_sub(self.start) / self.bucket_ns;
        if current <= self.current {
            return;
        }
        for ended in self.current.max(current.saturating_sub(BUCKETS))..current {
            self.marks[(ended % BUCKETS) as usize] = totals;
        }
        self.current = current;
    }

    /// When the current bucket ends.
    pub(crate) fn ends(&self) -> u64 {
        self.start.saturating_add(self.bucket_ns.saturating_mul(self.current + 1))
    }

    /// What was counted in this bucket and the nine before it.
    pub(crate) fn counts(&self, totals: Counts) -> Counts {
        // The mark that is overwritten next: that of the bucket which left the window last.
        totals.since(self.marks[(self.current % BUCKETS) as usize])
    }
}

/// How many calls a ring holds.
const SLOTS: u64 = crate::BreakerConfig::MAX_CALLS as u64;

/// The last calls one by one, in the order in which they ended: a call takes a number, which is one locked
/// instruction, and writes its outcome with that number. The number tells whether what a slot holds is of
/// this round, so nothing needs to be cleared, and a thread that was held up between the two steps for a whole
/// round is at worst one call less.
///
/// The memory is there from the first use on: few breakers count in this way.
#[derive(Default)]
pub(crate) struct Ring(OnceLock<Slots>);

struct Slots {
    next: AtomicU64,
    /// The number plus one, and three bits of outcome.
    calls: Box<[AtomicU64]>,
}

const FAILED: u64 = 1;
const SOFT: u64 = 2;
const SLOW: u64 = 4;

impl Ring {
    fn slots(&self) -> &Slots {
        self.0.get_or_init(|| Slots {
            next: AtomicU64::new(0),
            calls: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// A call ended.
    #[inline]
    pub(crate) fn push(&self, call: Ended) {
        let slots = self.slots();
        let number = slots.next.fetch_add(1, Relaxed);
        let bit = |on, bit| if on { bit } else { 0 };
        let outcome = bit(call.failed, FAILED) | bit(call.soft, SOFT) | bit(call.slow, SLOW);
        slots.calls[(number % SLOTS) as usize].store((number + 1) << 3 | outcome, Relaxed);
    }

    /// The number of the next call.
    pub(crate) fn next(&self) -> u64 {
        self.slots().next.load(Relaxed)
    }

    /// The last `calls` calls, without those before number `from`.
    pub(crate) fn counts(&self, calls: u64, from: u64) -> Counts {
        let slots = self.slots();
        let next = slots.next.load(Relaxed);
        let mut counts = Counts::default();
        for number in from.max(next.saturating_sub(calls.min(SLOTS)))..next {
            let call = slots.calls[(number % SLOTS) as usize].load(Relaxed);
            if call >> 3 == number + 1 {
                let is = |bit| call & bit != 0;
                counts.count(Ended { failed: is(FAILED), soft: is(SOFT), slow: is(SLOW) });
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(bits: u8) -> Ended {
        Ended { failed: bits & 1 != 0, soft: bits & 3 == 3, slow: bits & 4 != 0 }
    }

    proptest! {
        /// Against a list of all calls with their times.
        #[test]
        fn buckets_are_exact(steps in proptest::collection::vec((0u64..1_500, 0u8..8), 0..200)) {
            let (mut now, mut totals, mut all) = (77, Counts::default(), Vec::new());
            let mut buckets = Buckets::new(1_000, now, totals);
            for (wait, bits) in steps {
                now += wait / 7 * u64::from(wait % 3 == 0);
                buckets.turn(now, totals);
                totals.count(call(bits));
                all.push((now, bits));
                let current = (now - 77) / 100;
                let mut expected = Counts::default();
                let inside = all.iter().filter(|(at, _)| (at - 77) / 100 + 9 >= current);
                inside.for_each(|(_, bits)| expected.count(call(*bits)));
                prop_assert_eq!(buckets.counts(totals), expected);
                prop_assert!(now < buckets.ends() && buckets.ends() - now <= 100);
            }
        }

        /// Against a list of all calls.
        #[test]
        fn the_ring_is_exact(calls in proptest::collection::vec(0u8..8, 0..3_000), n in 1u64..=1_024, from in 0u64..40) {
            let ring = Ring::default();
            calls.iter().for_each(|bits| ring.push(call(*bits)));
            let first = calls.len().saturating_sub(n as usize).max(from as usize).min(calls.len());
            let mut expected = Counts::default();
            calls[first..].iter().for_each(|bits| expected.count(call(*bits)));
            prop_assert_eq!(ring.counts(n, from), expected);
            prop_assert_eq!(ring.next(), calls.len() as u64);
        }
    }

    #[test]
    fn threads_lose_no_call() {
        let ring = Ring::default();
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| (0..250).for_each(|_| ring.push(call(1))))));
        });
        assert_eq!(ring.counts(1_000, 0).failures, 1_000);
    }
}
