//! The machines against a service of which everything is known.
// Helpers of tests are not #[test] themselves.
#![allow(clippy::unwrap_used)]

use super::{Adapt, AdaptiveConfig, Aimd, Gradient, Window};
use proptest::prelude::*;
use std::time::Duration;

/// So many workers, calls that take so long in the mean, and so many of them a second, of which those above the limit
/// are turned away.
struct Service {
    workers: f64,
    time: f64,
    rate: f64,
    random: fastrand::Rng,
}

impl Service {
    fn window(&mut self, limit: u32) -> Window {
        let limited = f64::from(limit);
        let wanted = self.rate * self.time;
        // With enough to do the limit is full; what is above the workers waits.
        let saturated = wanted > limited.min(self.workers);
        let in_flight = if saturated { limited } else { wanted };
        let throughput = in_flight.min(self.workers) / self.time;
        let latency = in_flight / throughput;
        let calls = (throughput * 0.1).max(50.0).round();
        // Calls of 1 to 2 times their least, evenly.
        let noise = 1.0 + (0..12).map(|_| self.random.f64() - 0.5).sum::<f64>() * 0.55 / calls.sqrt();
        Window {
            length: Duration::from_secs_f64(calls / throughput),
            calls: calls as u64,
            latency: Duration::from_secs_f64(latency * noise.max(0.1)),
            dropped: 0,
            saturated,
            limit,
        }
    }

    fn run(&mut self, machine: &mut dyn Adapt, mut limit: u32, windows: usize) -> Vec<u32> {
        let mut limits = Vec::new();
        for _ in 0..windows {
            let window = self.window(limit);
            limit = machine.adapt(&window);
            limits.push(limit);
        }
        limits
    }
}

fn machines(config: AdaptiveConfig) -> [(&'static str, Box<dyn Adapt>); 2] {
    [("gradient", Box::new(Gradient::new(config))), ("aimd", Box::new(Aimd::new(config)))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// From wherever it starts, in the mean it keeps the service busy, and no long queue.
    #[test]
    fn it_settles_at_what_the_service_can_do(
        workers in 2u32..200, initial in 1u32..400, overload in 1.5f64..10.0, ms in 1u64..200, seed: u64,
    ) {
        let time = ms as f64 / 1_000.0;
        let rate = f64::from(workers) / time * overload;
        let random = fastrand::Rng::with_seed(seed);
        let mut service = Service { workers: workers.into(), time, rate, random };
        for (name, mut machine) in machines(AdaptiveConfig::try_new(1, initial, 1_000).unwrap()) {
            service.run(&mut *machine, initial, 300);
            let limits = service.run(&mut *machine, initial, 300);
            let done: f64 = limits.iter().map(|limit| f64::from((*limit).min(workers))).sum();
            let share = done / 300.0 / f64::from(workers);
            let mean = f64::from(limits.iter().sum::<u32>()) / 300.0;
            prop_assert!(share > 0.9, "{name}: {share} of the capacity");
            prop_assert!(mean < f64::from(workers) * 1.8 + 2.0, "{name}: {mean} for {workers}");
        }
    }

    /// Whatever it is told, it stays within its bounds.
    #[test]
    fn it_stays_within_its_bounds(
        windows in prop::collection::vec(
            (0u64..20_000, 0u64..1_000, 0u64..5_000_000, 0u64..3, any::<bool>()), 1..200,
        ),
        min in 1u32..50, more in 0u32..50, most in 0u32..500,
    ) {
        let config = AdaptiveConfig::try_new(min, min + more, min + more + most).unwrap();
        for (name, mut machine) in machines(config) {
            let mut limit = config.initial();
            for (ms, calls, us, dropped, saturated) in &windows {
                let (length, latency) = (Duration::from_millis(*ms), Duration::from_micros(*us));
                let window =
                    Window { length, calls: *calls, latency, dropped: *dropped, saturated: *saturated, limit };
                limit = machine.adapt(&window);
                prop_assert!((config.min()..=config.max()).contains(&limit), "{name}: {limit}");
            }
        }
    }
}

#[test]
fn with_room_for_all_nothing_changes() {
    for (name, mut machine) in machines(AdaptiveConfig::default()) {
        let random = fastrand::Rng::with_seed(1);
        let mut service = Service { workers: 100.0, time: 0.02, rate: 500.0, random };
        let limits = service.run(&mut *machine, 20, 500);
        assert!(limits.iter().all(|limit| (18..=30).contains(limit)), "{name}: {limits:?}");
    }
}

#[test]
fn what_is_dropped_below_lowers_the_limit() {
    for (name, mut machine) in machines(AdaptiveConfig::default()) {
        let random = fastrand::Rng::with_seed(1);
        let mut service = Service { workers: 100.0, time: 0.02, rate: 5_000.0, random };
        let before = *service.run(&mut *machine, 20, 50).last().unwrap();
        let window = Window { dropped: 3, ..service.window(before) };
        let after = machine.adapt(&window);
        assert!(after < before, "{name}: {before} to {after}");
    }
}
