//! When which endpoint is probed: a pure machine, which is told the time.

use crate::config::{HealthConfig, Initial};
use fastrand::Rng;
use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;
use towpath_core::EndpointId;

/// A new endpoint that gets no calls before its first probe is probed within the interval divided by this.
const SOON: u32 = 10;

/// Those that wait for their time, in its order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    waiting: BTreeSet<(Instant, EndpointId)>,
}

impl Plan {
    pub(super) fn add(&mut self, id: EndpointId, due: Instant) {
        self.waiting.insert((due, id));
    }

    pub(super) fn remove(&mut self, id: EndpointId, due: Instant) {
        self.waiting.remove(&(due, id));
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// Takes out the one that has been due for longest.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<EndpointId> {
        match self.waiting.first() {
            Some((due, _)) if *due <= now => self.waiting.pop_first().map(|(_, id)| id),
            _ => None,
        }
    }
}

/// When a new endpoint is probed first: those that are new together are spread.
pub(super) fn first(now: Instant, config: &HealthConfig, rng: &mut Rng) -> Instant {
    let within = match config.initial {
        Initial::Healthy => config.interval,
        Initial::Unhealthy => config.interval / SOON,
    };
    now + within.mul_f64(rng.f64())
}

/// When one is probed again whose last probe began at `began` and has ended.
pub(super) fn again(
    began: Instant,
    now: Instant,
    in_doubt: bool,
    config: &HealthConfig,
    rng: &mut Rng,
) -> Instant {
    let gap = config.recheck.filter(|_| in_doubt).unwrap_or(config.interval);
    // From 1 - jitter to 1 + jitter of it.
    let gap = gap.mul_f64(1.0 + config.jitter * (2.0 * rng.f64() - 1.0));
    now.max(began + gap)
}

/// No later than this is one due, whatever the config was when it was planned.
pub(super) fn latest(now: Instant, config: &HealthConfig) -> Instant {
    now + config.interval.mul_f64(1.0 + config.jitter) + Duration::from_nanos(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HealthOptions;
    use fastrand::Rng;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_is_taken_once_and_in_the_order_of_time(
            steps in proptest::collection::vec((0u64..8, 0u64..50, any::<bool>()), 0..80),
        ) {
            let base = Instant::now();
            let at = |ms: u64| base + Duration::from_millis(ms);
            let (mut plan, mut naive) = (Plan::default(), Vec::<(Instant, EndpointId)>::new());
            for (now, (id, due, add)) in steps.into_iter().enumerate() {
                let (now, id) = (at(now as u64), EndpointId(id));
                match naive.iter().position(|(_, one)| *one == id) {
                    None if add => {
                        plan.add(id, at(due));
                        naive.push((at(due), id));
                    }
                    Some(place) if !add => {
                        let (due, _) = naive.remove(place);
                        plan.remove(id, due);
                    }
                    _ => {}
                }
                naive.sort();
                prop_assert_eq!(plan.next(), naive.first().map(|(due, _)| *due));
                let expected = naive.first().copied().filter(|(due, _)| *due <= now);
                prop_assert_eq!(plan.take_due(now), expected.map(|(_, id)| id));
                naive.retain(|one| Some(*one) != expected);
            }
        }

        #[test]
        fn chance_keeps_to_its_share(seed: u64, interval_ms in 10u64..100_000, jitter in 0.0..0.5, took in 0u64..200_000, doubt: bool) {
            let interval = Duration::from_millis(interval_ms);
            let options = HealthOptions {
                interval,
                recheck: Some(interval.mul_f64(0.5).max(Duration::from_millis(10))),
                timeout: interval,
                jitter,
                ..HealthOptions::default()
            };
            let config = HealthConfig::try_new(options).unwrap();
            let mut rng = Rng::with_seed(seed);
            let (began, now) = (Instant::now(), Instant::now() + Duration::from_millis(took));
            let gap = if doubt { config.recheck.unwrap() } else { interval };
            let due = again(began, now, doubt, &config, &mut rng);
            let slack = Duration::from_nanos(1);
            prop_assert!(due >= now && due + slack >= began + gap.mul_f64(1.0 - jitter));
            prop_assert!(due == now || due <= began + gap.mul_f64(1.0 + jitter) + slack);
            prop_assert!(latest(now, &config) >= due);
            let first = first(now, &config, &mut rng);
            prop_assert!(first >= now && first <= now + interval);
        }
    }
}
