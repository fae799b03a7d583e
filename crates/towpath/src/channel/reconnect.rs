//! When to connect again.

use fastrand::Rng;
use std::time::Duration;
use tokio::time::Instant;
use towpath_core::Backoff;

/// Decides how long to wait before each connect. Pure: it takes the time and the dice, and does nothing.
///
/// The first connect after a loss is immediate; from the second on the waits grow, with full jitter. After a
/// GOAWAY even the first one waits: everybody else has got one too. A connection that did not last does not
/// count as recovered, so that a peer which accepts and hangs up is not called in a tight loop.
#[derive(Debug)]
pub(super) struct Reconnect {
    backoff: Backoff,
    /// Connects since the last connection that lasted.
    tries: u32,
    connected_at: Option<Instant>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It broke.
    Broken,
    /// The peer said that it goes away.
    Away,
}

impl Reconnect {
    pub(super) fn new(backoff: Backoff) -> Self {
        Reconnect { backoff, tries: 0, connected_at: None }
    }

    /// A connect succeeded.
    pub(super) fn connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
    }

    /// A connect failed: how long to wait before the next.
    pub(super) fn failed(&mut self, rng: &mut Rng) -> Duration {
        self.tries = self.tries.saturating_add(1);
        self.backoff.delay(self.tries - 1, rng)
    }

    /// The connection ended: how long to wait before the next connect.
    pub(super) fn lost(&mut self, now: Instant, loss: Loss, rng: &mut Rng) -> Duration {
        let lived = self.connected_at.take().map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if lived >= self.backoff.max() {
            self.tries = 0;
        }
        if self.tries == 0 && loss == Loss::Broken {
            self.tries = 1;
            return Duration::ZERO;
        }
        self.failed(rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use proptest::prelude::*;
    use towpath_core::Jitter;

    const MAX: Duration = Duration::from_secs(5);

    fn machine() -> Reconnect {
        Reconnect::new(Backoff::try_new(Duration::from_millis(50), MAX, 2.0, Jitter::Full).unwrap())
    }

    #[test]
    fn the_first_connect_after_a_loss_is_immediate_and_the_second_is_not() {
        let start = Instant::now();
        let (mut waited, mut spread) = (0, 0);
        for seed in 0..100 {
            let (mut m, mut rng) = (machine(), Rng::with_seed(seed));
            m.connected(start);
            assert_eq!(m.lost(start, Loss::Broken, &mut rng), Duration::ZERO);
            waited += u32::from(m.failed(&mut rng) > Duration::ZERO);
            spread += u32::from(m.failed(&mut rng) > Duration::from_millis(50));
        }
        assert!(waited == 100 && spread > 25, "{waited} {spread}");
    }

    #[test]
    fn after_a_goaway_even_the_first_waits() {
        let start = Instant::now();
        let waits: Vec<Duration> = (0..100)
            .map(|seed| {
                let mut m = machine();
                m.connected(start);
                m.lost(start + MAX * 2, Loss::Away, &mut Rng::with_seed(seed))
            })
            .collect();
        assert!(waits.iter().all(|wait| (1..=50_000_000).contains(&wait.as_nanos())), "{waits:?}");
    }

    #[derive(Clone, Debug)]
    enum Event {
        Fail,
        Live { ms: u64, away: bool },
    }

    fn event() -> impl Strategy<Value = Event> {
        let live = (0u64..20_000, any::<bool>()).prop_map(|(ms, away)| Event::Live { ms, away });
        prop_oneof![Just(Event::Fail), live]
    }

    proptest! {
        /// Whatever happens: no wait above the backoff's longest, and a connect without any wait only after
        /// a connection that lasted (or after the very first one).
        #[test]
        fn no_tight_loop_and_no_endless_wait(events in prop::collection::vec(event(), 1..80), seed: u64) {
            let (mut m, mut rng) = (machine(), Rng::with_seed(seed));
            let mut now = Instant::now();
            let mut credit = true;
            for event in events {
                let wait = match event {
                    Event::Fail => {
                        credit = false;
                        m.failed(&mut rng)
                    }
                    Event::Live { ms, away } => {
                        m.connected(now);
                        now += Duration::from_millis(ms);
                        credit |= Duration::from_millis(ms) >= MAX;
                        let loss = if away { Loss::Away } else { Loss::Broken };
                        let wait = m.lost(now, loss, &mut rng);
                        if wait.is_zero() {
                            prop_assert!(credit && !away);
                        } else {
                            prop_assert!(!credit || away);
                        }
                        credit = false;
                        wait
                    }
                };
                prop_assert!(wait <= MAX);
                now += wait;
            }
        }
    }
}
