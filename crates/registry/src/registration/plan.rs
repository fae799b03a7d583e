//! What is to be said to the registry next, and when: a pure machine, which is told the time.

use crate::wire::Leased;
use fastrand::Rng;
use std::time::Duration;
use tokio::time::Instant;
use towpath_core::Backoff;

/// What a registry asks for is taken within these.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3_600);

/// Before a heartbeat so much of the interval is waited, at least; at most all of it.
const EARLIEST: f64 = 0.8;

/// ```text
///  unregistered ── registered ──► leased ── heartbeats ──► leased
///      ▲  failed: later              │ described anew: registers again under its lease, at once
///      └──────── lease unknown ──────┘ failed: sooner than the next heartbeat
/// ```
#[derive(Debug)]
pub(super) struct Plan {
    held: Option<Held>,
    due: Instant,
    /// What the registry has is not what it should have.
    stale: bool,
    failures: u32,
}

#[derive(Debug)]
struct Held {
    lease: String,
    heartbeat: Duration,
}

/// What to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// To be registered; under this lease, if there is one.
    Register(Option<String>),
    /// To keep this lease.
    Heartbeat(String),
}

impl Plan {
    pub(super) fn new(now: Instant) -> Self {
        Plan { held: None, due: now, stale: true, failures: 0 }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn ask(&self) -> Ask {
        match &self.held {
            Some(held) if !self.stale => Ask::Heartbeat(held.lease.clone()),
            held => Ask::Register(held.as_ref().map(|held| held.lease.clone())),
        }
    }

    pub(super) fn lease(&self) -> Option<&str> {
        self.held.as_ref().map(|held| &*held.lease)
    }

    /// It should be registered as something else.
    pub(super) fn describe(&mut self, now: Instant) {
        self.stale = true;
        // Not beside the backoff: who is not reached is not reached for this either.
        if self.failures == 0 {
            self.due = now;
        }
    }

    /// It is registered, or the lease renewed. What came between the question and the answer is asked for next.
    pub(super) fn leased(&mut self, leased: Leased, stale: bool, now: Instant, rng: &mut Rng) {
        let heartbeat = Duration::from_millis(leased.heartbeat_ms).clamp(SHORTEST, LONGEST);
        (self.failures, self.stale) = (0, stale);
        self.due = if stale { now } else { now + heartbeat.mul_f64(EARLIEST + (1.0 - EARLIEST) * rng.f64()) };
        self.held = Some(Held { lease: leased.lease, heartbeat });
    }

    /// The registry does not know the lease.
    pub(super) fn lost(&mut self, now: Instant) {
        (self.held, self.stale, self.due) = (None, true, now);
    }

    /// It was not reached, or refused. Answers with the wait.
    pub(super) fn failed(&mut self, now: Instant, backoff: &Backoff, rng: &mut Rng) -> Duration {
        let wait = backoff.delay(self.failures, rng);
        // As long as there is a lease, it is worth an attempt at least as often as a heartbeat.
        let wait = self.held.as_ref().map_or(wait, |held| wait.min(held.heartbeat));
        self.failures = self.failures.saturating_add(1);
        self.due = now + wait;
        wait
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use proptest::prelude::*;

    fn leased(heartbeat_ms: u64) -> Leased {
        Leased { lease: "l".into(), heartbeat_ms, lease_ms: 0 }
    }

    #[test]
    fn a_life() {
        let (mut now, mut rng) = (Instant::now(), Rng::with_seed(1));
        let mut plan = Plan::new(now);
        assert_eq!((plan.due(), plan.ask()), (now, Ask::Register(None)));
        plan.failed(now, &Backoff::default(), &mut rng);
        assert!(plan.due() > now && plan.failures() == 1);
        plan.leased(leased(10_000), false, now, &mut rng);
        assert_eq!((plan.ask(), plan.failures()), (Ask::Heartbeat("l".into()), 0));
        now = plan.due();
        plan.describe(now);
        assert_eq!((plan.due(), plan.ask()), (now, Ask::Register(Some("l".into()))));
        // Described once more while that was asked.
        plan.leased(leased(10_000), true, now, &mut rng);
        assert_eq!((plan.due(), plan.ask()), (now, Ask::Register(Some("l".into()))));
        plan.leased(leased(10_000), false, now, &mut rng);
        plan.lost(now);
        assert_eq!((plan.due(), plan.ask(), plan.lease()), (now, Ask::Register(None), None));
    }

    proptest! {
        /// Two heartbeats fall into every two intervals, whatever the chance; and what the registry asks for is taken
        /// within bounds.
        #[test]
        fn heartbeats_come_in_time(seed: u64, heartbeat_ms in prop_oneof![100u64..3_600_000, any::<u64>()]) {
            let (now, mut rng) = (Instant::now(), Rng::with_seed(seed));
            let mut plan = Plan::new(now);
            let interval = Duration::from_millis(heartbeat_ms.clamp(100, 3_600_000));
            plan.leased(leased(heartbeat_ms), false, now, &mut rng);
            let wait = plan.due() - now;
            prop_assert!(wait <= interval && wait >= interval.mul_f64(0.799), "{wait:?}");
            // One that failed is repeated before the lease is over.
            let at = plan.due();
            let again = plan.failed(at, &Backoff::default(), &mut rng);
            prop_assert!(wait + again <= interval * 2);
        }
    }
}
