//! Too many calls, on a paused clock: so many workers, calls that take 1 to 50 ms, and three times as many of them as
//! there is capacity for, whether they are answered or not.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

mod common;

use common::{Workers, ms, request};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep_until};
use tower::{Layer, ServiceExt};
use towpath_core::Priority;
use towpath_limit::{AdaptiveConfig, AdmissionConfig, AdmissionHandle, AdmissionLayer, LimitBy};
use towpath_testing::time::paused;

/// How long a call takes in the mean.
const MEAN: f64 = 0.0255;

/// One call that got through.
#[derive(Clone, Copy, Debug)]
struct Through {
    took: Duration,
    priority: u8,
}

struct Load {
    service: tower::util::BoxCloneSyncService<
        towpath_core::Request<()>,
        towpath_core::Response<()>,
        towpath_core::BoxError,
    >,
    through: Arc<Mutex<Vec<Through>>>,
    random: fastrand::Rng,
    handle: AdmissionHandle,
}

impl Load {
    fn new(layer: AdmissionLayer, workers: usize, seed: u64) -> Self {
        let times = Mutex::new(fastrand::Rng::with_seed(seed + 1));
        Self::around(layer, Workers::with_times(workers, move || ms(times.lock().unwrap().u64(1..=50))), seed)
    }

    fn around(layer: AdmissionLayer, inner: Workers, seed: u64) -> Self {
        let handle = layer.handle();
        let service = tower::util::BoxCloneSyncService::new(layer.honour_context().layer(inner));
        Load { service, through: Arc::default(), random: fastrand::Rng::with_seed(seed), handle }
    }

    /// Calls at random moments, so many a second in the mean. Answers with what got through meanwhile.
    async fn run(&mut self, rate: f64, seconds: u64, priority: impl Fn(u64) -> u8) -> Vec<Through> {
        let (mut at, mut number) = (Instant::now(), 0);
        let over = at + Duration::from_secs(seconds);
        while at < over {
            at += Duration::from_secs_f64(-(1.0 - self.random.f64()).ln() / rate);
            sleep_until(at).await;
            number += 1;
            let (service, through, priority) = (self.service.clone(), self.through.clone(), priority(number));
            tokio::spawn(async move {
                let (mut request, start) = (request(), Instant::now());
                request.context_mut().set_priority(Priority::new(priority));
                if service.oneshot(request).await.is_ok() {
                    through.lock().unwrap().push(Through { took: start.elapsed(), priority });
                }
            });
        }
        std::mem::take(&mut *self.through.lock().unwrap())
    }
}

fn p99(through: &[Through]) -> Duration {
    let mut took: Vec<_> = through.iter().map(|through| through.took).collect();
    took.sort();
    took[took.len() * 99 / 100]
}

/// Goodput as a share of capacity, and the p99 of those who got through as a multiple of that of a service at ease.
fn overload(limit: LimitBy, workers: usize, seed: u64, is_warm: bool) -> (f64, f64) {
    paused(async move {
        let capacity = workers as f64 / MEAN;
        let layer = AdmissionLayer::new(AdmissionConfig::try_new(limit).unwrap());
        let mut load = Load::new(layer, workers, seed);
        // A service that was never at ease before it was overloaded has to find out first; its calls take 50 ms at most.
        let (mut baseline, before) = (ms(50), if is_warm { 0.5 } else { 3.0 });
        let through = load.run(capacity * before, 12, |_| 4).await;
        if is_warm {
            baseline = p99(&through);
        }
        let through = load.run(capacity * 3.0, 20, |_| 4).await;
        let goodput = through.len() as f64 / 20.0 / capacity;
        let ratio = p99(&through).as_secs_f64() / baseline.as_secs_f64();
        println!(
            "workers {workers}, seed {seed}, warm {is_warm}: goodput {goodput:.3}, p99 {:?} against {baseline:?}: \
             {ratio:.2}, limit {}",
            p99(&through),
            load.handle.limit()
        );
        (goodput, ratio)
    })
}

fn all(limit: impl Fn(usize) -> LimitBy) {
    for (workers, seed, is_warm) in [(4, 1, true), (8, 2, true), (8, 3, false), (16, 4, true), (16, 5, false)]
    {
        let (goodput, ratio) = overload(limit(workers), workers, seed, is_warm);
        assert!(goodput >= 0.9, "{goodput}");
        assert!(ratio <= 2.0, "{ratio}");
    }
}

/// With the defaults.
#[test]
fn pitfall_24_three_times_too_much_with_a_gradient() {
    assert!(matches!(AdmissionConfig::default().limit(), LimitBy::Gradient(_)));
    all(|_| AdmissionConfig::default().limit());
}

#[test]
fn pitfall_24_three_times_too_much_with_aimd() {
    all(|_| LimitBy::Aimd(AdaptiveConfig::default()));
}

#[test]
fn pitfall_24_three_times_too_much_with_codel() {
    all(|workers| LimitBy::Fixed(workers as u32));
}

/// Without shedding the same service is of no use: the test can tell.
#[test]
fn with_a_limit_far_too_high_everybody_is_late() {
    let (_, ratio) = overload(LimitBy::Fixed(1_000), 8, 0, true);
    assert!(ratio > 10.0, "{ratio}");
}

/// Eight priorities, as many calls of each, three times too many: room for the upper two, and some of the third.
#[test]
fn the_lowest_priorities_are_shed_and_the_highest_are_not() {
    paused(async {
        let workers = 16;
        let mut load = Load::new(AdmissionLayer::new(AdmissionConfig::default()), workers, 3);
        let capacity = workers as f64 / MEAN;
        load.run(capacity * 0.5, 10, |_| 4).await;
        let through = load.run(capacity * 3.0, 30, |number| (number % 8) as u8).await;
        let of_each = capacity * 3.0 * 30.0 / 8.0;
        let share = |priority| through.iter().filter(|t| t.priority == priority).count() as f64 / of_each;
        let shares: Vec<_> = (0..8).map(share).collect();
        println!("{shares:.3?}");
        assert!(shares[7] > 0.97 && shares[6] > 0.9, "{shares:.3?}");
        assert!(shares[..4].iter().all(|share| *share < 0.1), "{shares:.3?}");
        // Who goes first does not wait.
        let highest: Vec<_> = through.iter().filter(|t| t.priority == 7).copied().collect();
        assert!(p99(&highest) <= ms(75), "{:?}", p99(&highest));
        let refused = load.handle.refused();
        assert!(refused[0] > refused[7] * 10, "{refused:?}");
    });
}

/// A service that becomes three times slower, and one that comes back: neither is strangled.
#[test]
fn a_slower_service_is_not_taken_for_an_overloaded_one() {
    paused(async {
        let slow = Arc::new(AtomicBool::new(false));
        let is_slow = slow.clone();
        // Workers without end: the calls only take longer.
        let inner = Workers::with_times(10_000, move || if is_slow.load(SeqCst) { ms(75) } else { ms(25) });
        let layer = AdmissionLayer::new(AdmissionConfig::default());
        let mut load = Load::around(layer, inner, 5);
        assert!(load.run(1_000.0, 10, |_| 4).await.len() > 9_500);
        slow.store(true, SeqCst);
        load.run(1_000.0, 15, |_| 4).await;
        let through = load.run(1_000.0, 10, |_| 4).await;
        assert!(through.len() > 9_500, "{} {:?}", through.len(), load.handle);
        slow.store(false, SeqCst);
        assert!(load.run(1_000.0, 10, |_| 4).await.len() > 9_500);
    });
}
