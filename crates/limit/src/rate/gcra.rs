//! The decision: the generic cell rate algorithm, as virtual scheduling.
//!
//! ITU-T I.371 and the ATM Forum's Traffic Management 4.0 define it: one number, the theoretical arrival time of the
//! next call if calls came evenly; a call may come earlier than that by a tolerance, which is what makes a burst. It
//! decides as a token bucket does, without anything that fills the bucket.

/// Times of this module: sixteenths of a nanosecond since the limit was made, good for 36 years.
pub(super) type Ticks = u64;

pub(super) const TICKS_PER_NANO: u64 = 16;

/// A rate and a burst, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gcra {
    /// From one call to the next, rounded up: the rate is never above what was said.
    interval: Ticks,
    /// How much earlier than evenly a call may come.
    tolerance: Ticks,
}

/// What is decided about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The theoretical arrival time after it.
    pub(super) next: Ticks,
    /// How long until it conforms; 0: now.
    pub(super) wait: Ticks,
}

impl Gcra {
    /// `calls` in `nanos`, `burst` of them at once; all three above 0.
    pub(super) fn new(calls: u32, nanos: u64, burst: u32) -> Self {
        let interval = nanos.saturating_mul(TICKS_PER_NANO).div_ceil(u64::from(calls.max(1)));
        Gcra { interval, tolerance: interval.saturating_mul(u64::from(burst.saturating_sub(1))) }
    }

    /// Where a call that comes at `now` stands if all go before it that brought `next` to where it is.
    #[inline]
    pub(super) fn place(&self, next: Ticks, now: Ticks) -> Place {
        let wait = next.saturating_sub(now).saturating_sub(self.tolerance);
        Place { next: next.max(now).saturating_add(self.interval), wait }
    }

    /// The theoretical arrival time without the last call, if that is the one that brought it to `next`.
    pub(super) fn undo(&self, next: Ticks) -> Ticks {
        next.saturating_sub(self.interval)
    }

    /// How long after heavy use it is as new.
    pub(super) fn recovery(&self) -> Ticks {
        self.tolerance.saturating_add(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A bucket that is filled tick by tick, in whole fractions.
    struct Bucket {
        fill: u128,
        at: Ticks,
    }

    impl Bucket {
        fn take(&mut self, gcra: &Gcra, now: Ticks) -> bool {
            let (whole, most) = (u128::from(gcra.interval), u128::from(gcra.interval + gcra.tolerance));
            self.fill = (self.fill + u128::from(now - self.at)).min(most);
            self.at = now;
            let enough = self.fill >= whole;
            if enough {
                self.fill -= whole;
            }
            enough
        }
    }

    proptest! {
        #[test]
        fn it_decides_as_a_token_bucket_does(
            calls in 1u32..2_000, nanos in 1_000u64..2_000_000_000, burst in 1u32..50,
            steps in prop::collection::vec((0u64..4, 0u64..1_000), 1..200),
        ) {
            let gcra = Gcra::new(calls, nanos, burst);
            let mut bucket = Bucket { fill: u128::from(gcra.interval + gcra.tolerance), at: 0 };
            let (mut next, mut now) = (0, 0);
            for (intervals, part) in steps {
                now += gcra.interval * intervals * part / 1_000;
                let place = gcra.place(next, now);
                prop_assert_eq!(place.wait == 0, bucket.take(&gcra, now));
                if place.wait == 0 {
                    next = place.next;
                } else {
                    // Exactly so much later it conforms, and not before.
                    prop_assert_eq!(gcra.place(next, now + place.wait).wait, 0);
                    prop_assert_eq!(gcra.place(next, now + place.wait - 1).wait, 1);
                }
            }
        }

        /// In no stretch of time are there more calls than the rate and one burst.
        #[test]
        fn no_stretch_of_time_has_more(
            calls in 1u32..100, burst in 1u32..20, gaps in prop::collection::vec(0u64..40_000_000, 1..300),
        ) {
            let gcra = Gcra::new(calls, 1_000_000_000, burst);
            let (mut next, mut now, mut admitted) = (0, 0, Vec::new());
            for gap in gaps {
                now += gap * TICKS_PER_NANO;
                let place = gcra.place(next, now);
                if place.wait == 0 {
                    next = place.next;
                    admitted.push(now);
                }
            }
            for (first, from) in admitted.iter().enumerate() {
                for (last, to) in admitted.iter().enumerate().skip(first) {
                    let most = u64::from(burst) + (to - from) / gcra.interval;
                    prop_assert!((last - first + 1) as u64 <= most);
                }
            }
        }
    }

    #[test]
    fn the_rate_is_never_above_what_was_said() {
        let gcra = Gcra::new(3, 1_000_000_000, 1);
        assert_eq!(gcra.interval, 5_333_333_334);
        assert_eq!(Gcra::new(u32::MAX, 1, 1).interval, 1);
    }
}
