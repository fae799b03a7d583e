//! When to open.

use crate::{BreakerConfig, Counts, Reason};
use std::time::Duration;
use tokio::time::Instant;

/// What there is to decide by when a call failed or was slow.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Seen<'a> {
    /// The calls in the window, this one included.
    pub window: Counts,
    /// The calls since the breaker was closed, this one included.
    pub total: Counts,
    /// How many failures, soft ones not counted, came since the last success.
    pub consecutive: u32,
    /// Whether this call failed. If not it was slow.
    pub failed: bool,
    /// Whether it failed softly.
    pub soft: bool,
    /// When this call ended.
    pub now: Instant,
    /// For how long the breaker has been closed.
    pub closed_for: Duration,
    /// The config as it is now.
    pub config: &'a BreakerConfig,
}

/// Says when a closed breaker opens, in place of what the config says.
///
/// It is asked after each call that failed or was slow, one at a time for each breaker, and never after a success:
/// what was good is in the counts. It must be quick and must not use the breaker's handle. A closure from
/// [`Seen`] to `bool` is a policy; one that wants to add to what the config says asks [`Seen::by_config`]:
///
/// ```
/// use towpath_breaker::{BreakerConfig, BreakerLayer, Seen};
/// let layer = BreakerLayer::new(BreakerConfig::default())
///     .trip_when(|seen: &Seen<'_>| seen.by_config().is_some() || seen.window.soft >= 50);
/// # let _ = layer;
/// ```
pub trait TripPolicy: Send + Sync {
    /// Whether to open.
    fn trips(&self, seen: &Seen<'_>) -> bool;
}

impl<F: Fn(&Seen<'_>) -> bool + Send + Sync> TripPolicy for F {
    fn trips(&self, seen: &Seen<'_>) -> bool {
        self(seen)
    }
}

impl Seen<'_> {
    /// Why the config would open it now, if it would.
    pub fn by_config(&self) -> Option<Reason> {
        let config = self.config;
        let enough = self.window.calls >= u64::from(config.min_calls);
        let rate = |part, rate| enough && reaches(part, self.window.calls, rate);
        if self.failed && !self.soft && config.consecutive_failures.is_some_and(|n| self.consecutive >= n) {
            return Some(Reason::Consecutive);
        }
        if self.failed && config.failure_rate.is_some_and(|limit| rate(self.window.failures, limit)) {
            return Some(Reason::FailureRate);
        }
        // Without a limit none was slow.
        (self.window.slow > 0 && rate(self.window.slow, config.slow_rate)).then_some(Reason::SlowRate)
    }
}

/// Whether `part` of `calls` is at least this share of them. In whole millionths: 3 of 30 is a tenth, which
/// `0.1 * 30.0` is not.
fn reaches(part: u64, calls: u64, share: f64) -> bool {
    let millionths = (share * 1e6).round() as u64;
    part * 1_000_000 >= millionths * calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact() {
        assert!(reaches(3, 30, 0.1) && !reaches(29, 300, 0.1));
        assert!(reaches(1, 3, 0.333_333) && !reaches(1, 3, 0.334));
        assert!(reaches(20, 20, 1.0) && !reaches(19, 20, 1.0));
    }
}
