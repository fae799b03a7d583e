//! Whether an endpoint is healthy, by the outcomes of its probes: a pure machine.

use crate::config::{HealthConfig, Initial};

/// ```text
///             failures in a row
///  healthy ──────────────────────► unhealthy
///     ▲                                │
///     └──── successes in a row ────────┘     (one, if it was never probed before)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judge {
    healthy: bool,
    /// How many outcomes in a row were as the last one; 0: there was none yet.
    row: u32,
    last: bool,
}

impl Judge {
    pub(super) fn new(initial: Initial) -> Self {
        Judge { healthy: initial == Initial::Healthy, row: 0, last: true }
    }

    /// A probe has ended. Says whether this changed the verdict.
    pub(super) fn heard(&mut self, success: bool, rule: &HealthConfig) -> bool {
        let first = self.row == 0;
        self.row = if self.last == success { self.row.saturating_add(1) } else { 1 };
        self.last = success;
        let enough = match success {
            true if first => 1,
            true => rule.successes,
            false => rule.failures,
        };
        let changed = self.healthy != success && self.row >= enough;
        if changed {
            self.healthy = success;
        }
        changed
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// How many outcomes in a row were as the last one.
    pub(super) fn row(&self) -> u32 {
        self.row
    }

    /// Whether there is a reason to look again soon: it is unhealthy, or the last probe failed.
    pub(super) fn in_doubt(&self) -> bool {
        !self.healthy || !self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HealthOptions;
    use proptest::prelude::*;

    /// Looks at all that was ever heard, each time anew.
    fn naive(heard: &[bool], initial: Initial, rule: &HealthConfig) -> bool {
        let mut healthy = initial == Initial::Healthy;
        for end in 1..=heard.len() {
            let all = |outcome: bool, n: u32| {
                let n = n as usize;
                end >= n && heard[end - n..end].iter().all(|one| *one == outcome)
            };
            if all(false, rule.failures) {
                healthy = false;
            }
            if all(true, rule.successes) || (end == 1 && heard[0]) {
                healthy = true;
            }
        }
        healthy
    }

    proptest! {
        #[test]
        fn as_one_who_remembers_everything(
            heard in proptest::collection::vec(any::<bool>(), 0..60),
            failures in 1u32..5,
            successes in 1u32..5,
            unhealthy: bool,
        ) {
            let rule = HealthConfig::try_new(HealthOptions { failures, successes, ..HealthOptions::default() }).unwrap();
            let initial = if unhealthy { Initial::Unhealthy } else { Initial::Healthy };
            let mut judge = Judge::new(initial);
            prop_assert!(judge.is_healthy() != unhealthy && judge.in_doubt() == unhealthy);
            for end in 1..=heard.len() {
                let before = judge.is_healthy();
                let changed = judge.heard(heard[end - 1], &rule);
                prop_assert_eq!(judge.is_healthy(), naive(&heard[..end], initial, &rule));
                prop_assert_eq!(changed, before != judge.is_healthy());
                let row = heard[..end].iter().rev().take_while(|one| **one == heard[end - 1]).count();
                prop_assert_eq!(judge.row() as usize, row);
                prop_assert_eq!(judge.in_doubt(), !(judge.is_healthy() && heard[end - 1]));
            }
        }
    }

    #[test]
    fn by_default_three_take_it_out_and_two_bring_it_back() {
        let rule = HealthConfig::default();
        let mut judge = Judge::new(Initial::Healthy);
        let heard = [false, false, true, false, false, false, true, false, true, true];
        let seen: Vec<_> =
            heard.iter().map(|success| (judge.heard(*success, &rule), judge.is_healthy()).1).collect();
        assert_eq!(seen, [true, true, true, true, true, false, false, false, false, true]);
    }

    #[test]
    fn one_success_lets_a_new_one_in() {
        let rule = HealthConfig::default();
        let mut judge = Judge::new(Initial::Unhealthy);
        assert!(judge.heard(true, &rule) && judge.is_healthy());
        let mut judge = Judge::new(Initial::Unhealthy);
        assert!(!judge.heard(false, &rule) && !judge.heard(true, &rule) && judge.heard(true, &rule));
    }
}
