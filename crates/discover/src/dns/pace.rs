//! When a name is asked for again: a pure rule, which is told the time.

use fastrand::Rng;
use std::time::Duration;
use tokio::time::Instant;

/// However short an answer holds, and however often it fails: at most once in this time.
const SHORTEST: Duration = Duration::from_secs(1);

/// However long an answer holds: at least once in this time.
const LONGEST: Duration = Duration::from_secs(300);

/// The same where there were no records: whoever was there is most likely on the way back.
const LONGEST_EMPTY: Duration = Duration::from_secs(5);

/// By so much later at most, so that those who asked together do not ask together again.
const JITTER: Duration = Duration::from_millis(500);

/// When a name is asked for again.
#[derive(Debug, Default)]
pub(super) struct Pace {
    asked: Option<Instant>,
    due: Option<Instant>,
}

impl Pace {
    /// When it is time; `None`: at once.
    pub(super) fn next(&self) -> Option<Instant> {
        let floor = self.asked.map(|asked| asked + SHORTEST);
        self.due.max(floor)
    }

    /// It is asked now.
    pub(super) fn asks(&mut self, now: Instant) {
        (self.asked, self.due) = (Some(now), None);
    }

    /// It was answered, and the answer holds for so long.
    pub(super) fn answered(&mut self, now: Instant, ttl: Duration, empty: bool, rng: &mut Rng) {
        let ttl = ttl.clamp(SHORTEST, if empty { LONGEST_EMPTY } else { LONGEST });
        self.due = Some(now + ttl + JITTER.min(ttl / 10).mul_f64(rng.f64()));
    }

    /// Somebody wants to know sooner.
    pub(super) fn hurry(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::prop_assert;

    proptest::proptest! {
        #[test]
        fn no_more_than_once_a_second_and_no_later_than_the_ttl_and_half_a_second(ttl: u32, empty: bool, seed: u64) {
            let now = Instant::now();
            let mut pace = Pace::default();
            prop_assert!(pace.next().is_none());
            pace.asks(now);
            // A failure says nothing of when to come again.
            prop_assert!(pace.next() == Some(now + SHORTEST));
            let ttl = Duration::from_secs(ttl.into());
            let answered = now + Duration::from_millis(700);
            pace.answered(answered, ttl, empty, &mut Rng::with_seed(seed));
            let next = pace.next().unwrap();
            prop_assert!(next >= now + SHORTEST);
            let most = if empty { LONGEST_EMPTY } else { LONGEST };
            prop_assert!(next >= answered + ttl.min(most) && next <= answered + ttl.clamp(SHORTEST, most) + JITTER);
            pace.hurry();
            prop_assert!(pace.next() == Some(now + SHORTEST));
        }
    }
}
