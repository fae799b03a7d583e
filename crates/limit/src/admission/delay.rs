//! How long a call may wait: not long, when there is always a queue.
//!
//! A queue that empties now and then takes up bursts; one that never does only makes everybody late. CoDel (Nichols and
//! Jacobson, "Controlling Queue Delay", 2012; RFC 8289) tells them apart by the least delay within an interval. For
//! queues of calls Facebook made it simpler (Maurer, "Fail at Scale", ACM Queue 2015): while the queue was empty within
//! the last interval (100 ms), a call may wait for as long as that; otherwise it may wait for the target (20 ms here),
//! and the newest goes first, as it is the one that is most likely to be in time (adaptive LIFO).
//!
//! One thing is added. A small service that sheds empties its short queue by chance, which is no sign of rest: the calm
//! begins when nobody was refused for an interval.

use std::time::Duration;

/// Looks at the queue, whenever a call joins it or is refused. Times are since the same moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delay {
    /// Since when the queue was not seen empty.
    busy_since: Duration,
    /// When a call was last refused.
    refused: Option<Duration>,
}

impl Delay {
    /// A call joins the queue; `is_empty`: as the first one. Says whether the queue is one that stands.
    pub(super) fn joined(&mut self, now: Duration, is_empty: bool, interval: Duration) -> bool {
        if is_empty {
            self.busy_since = now;
        }
        let sheds = self.refused.is_some_and(|refused| now.saturating_sub(refused) < interval);
        sheds || now.saturating_sub(self.busy_since) >= interval
    }

    /// A call was refused.
    pub(super) fn refused(&mut self, now: Duration) {
        self.refused = Some(now.max(self.refused.unwrap_or(now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_queue_stands_when_it_was_not_empty_for_an_interval() {
        let mut delay = Delay::default();
        assert!(!delay.joined(ms(1_000), true, ms(100)));
        assert!(!delay.joined(ms(1_099), false, ms(100)));
        assert!(delay.joined(ms(1_100), false, ms(100)));
        assert!(!delay.joined(ms(1_101), true, ms(100)));
        delay.refused(ms(1_150));
        assert!(delay.joined(ms(1_249), true, ms(100)));
        assert!(!delay.joined(ms(1_250), true, ms(100)));
    }

    proptest! {
        /// Against the whole history.
        #[test]
        fn as_somebody_who_remembers_everything(
            steps in prop::collection::vec((0u64..80, 0u8..4), 1..200)
        ) {
            let (mut delay, mut history, mut now) = (Delay::default(), Vec::new(), 1_000);
            for (gap, kind) in steps {
                now += gap;
                if kind == 0 {
                    delay.refused(ms(now));
                } else {
                    let stands = delay.joined(ms(now), kind == 1, ms(100));
                    let empty = history.iter().rev().find(|(_, kind)| *kind == 1).map_or(0, |(at, _)| *at);
                    let empty = if kind == 1 { now } else { empty };
                    let refused = history.iter().any(|(at, kind)| *kind == 0 && now - at < 100);
                    prop_assert_eq!(stands, now - empty >= 100 || refused);
                }
                history.push((now, kind));
            }
        }
    }
}
