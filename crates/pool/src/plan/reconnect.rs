//! When to connect again.

use fastrand::Rng;
use std::time::Duration;
use tokio::time::Instant;
use towpath_core::Backoff;

/// Decides how long to wait before each connect. Pure: it takes the time and the dice, and does nothing.
///
/// The first connect after a loss is immediate; from the second on the waits grow, with full jitter. After a GOAWAY even
/// the first one waits: everybody else has got one too. A connection that did not last does not count as recovered, so
/// that a peer which accepts and hangs up is not called in a tight loop; nor do many that are lost at once make many
/// connects at once.
#[derive(Debug, Default)]
pub(super) struct Reconnect {
    /// Connects since things were last well.
    tries: u32,
    /// When something last went wrong.
    trouble: Option<Instant>,
}

impl Reconnect {
    /// Whether the last thing that is known is that something went wrong: then one connect at a time is enough to find
    /// out more.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.tries > 0
    }

    /// A connect failed: how long to wait before the next.
    pub(super) fn failed(&mut self, backoff: &Backoff, now: Instant, rng: &mut Rng) -> Duration {
        self.trouble = Some(now);
        self.tries = self.tries.saturating_add(1);
        backoff.delay(self.tries - 1, rng)
    }

    /// A connection that was made at `since` broke, or its peer goes `away`: how long to wait before the next connect.
    pub(super) fn lost(
        &mut self,
        backoff: &Backoff,
        since: Instant,
        now: Instant,
        away: bool,
        rng: &mut Rng,
    ) -> Duration {
        self.lasts(backoff, since, now);
        if self.tries == 0 && !away {
            (self.tries, self.trouble) = (1, Some(now));
            return Duration::ZERO;
        }
        self.failed(backoff, now, rng)
    }

    /// There is, or was until now, a connection that was made at `since`: if it and the peace have lasted, things are well.
    pub(super) fn lasts(&mut self, backoff: &Backoff, since: Instant, now: Instant) {
        let well = |at: Instant| now.saturating_duration_since(at) >= backoff.max();
        if well(since) && self.trouble.is_none_or(well) {
            self.tries = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use proptest::prelude::*;
    use towpath_core::Jitter;

    const MAX: Duration = Duration::from_secs(5);

    fn backoff() -> Backoff {
        Backoff::try_new(Duration::from_millis(50), MAX, 2.0, Jitter::Full).unwrap()
    }

    fn machine() -> Reconnect {
        Reconnect::default()
    }

    #[test]
    fn the_first_connect_after_a_loss_is_immediate_and_the_second_is_not() {
        let start = Instant::now();
        let (mut waited, mut spread) = (0, 0);
        for seed in 0..100 {
            let (mut m, mut rng, b) = (machine(), Rng::with_seed(seed), backoff());
            assert_eq!(m.lost(&b, start, start, false, &mut rng), Duration::ZERO);
            waited += u32::from(m.failed(&b, start, &mut rng) > Duration::ZERO);
            spread += u32::from(m.failed(&b, start, &mut rng) > Duration::from_millis(50));
        }
        assert!(waited == 100 && spread > 25, "{waited} {spread}");
    }

    #[test]
    fn after_a_goaway_even_the_first_waits() {
        let start = Instant::now();
        let wait = |seed| machine().lost(&backoff(), start, start + MAX * 2, true, &mut Rng::with_seed(seed));
        assert!((0..100).map(wait).all(|wait| (1..=50_000_000).contains(&wait.as_nanos())));
    }

    #[test]
    fn of_many_that_are_lost_at_once_one_is_made_again_at_once() {
        let start = Instant::now();
        let (mut m, mut rng, b, end) = (machine(), Rng::with_seed(3), backoff(), start + MAX * 9);
        let waits: Vec<_> = (0..8).map(|_| m.lost(&b, start, end, false, &mut rng)).collect();
        assert_eq!(waits.iter().filter(|wait| wait.is_zero()).count(), 1, "{waits:?}");
        // And so again when peace has lasted.
        assert_eq!(m.lost(&b, end, end + MAX, false, &mut rng), Duration::ZERO);
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
            let (mut m, mut rng, b) = (machine(), Rng::with_seed(seed), backoff());
            let mut now = Instant::now();
            let mut credit = true;
            for event in events {
                let wait = match event {
                    Event::Fail => {
                        credit = false;
                        m.failed(&b, now, &mut rng)
                    }
                    Event::Live { ms, away } => {
                        let since = now;
                        now += Duration::from_millis(ms);
                        credit |= Duration::from_millis(ms) >= MAX;
                        let wait = m.lost(&b, since, now, away, &mut rng);
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
