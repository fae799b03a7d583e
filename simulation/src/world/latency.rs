//! How long a call takes to do.

use fastrand::Rng;
use std::{f64::consts::TAU, time::Duration};

/// A log-normal distribution: most are near the median, a few take several times as long, as with real services.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) median: Duration,
    /// The standard deviation of the logarithm.
    pub(crate) spread: f64,
}

impl Latency {
    pub(crate) fn draw(&self, rng: &mut Rng) -> Duration {
        self.median.mul_f64((self.spread * normal(rng)).exp())
    }

    pub(crate) fn mean(&self) -> Duration {
        self.median.mul_f64((self.spread * self.spread / 2.0).exp())
    }
}

/// Of the standard normal distribution (Box and Muller, 1958).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (TAU * rng.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draws_are_those_of_the_distribution() {
        let (latency, mut rng) =
            (Latency { median: Duration::from_millis(15), spread: 0.6 }, Rng::with_seed(1));
        let mut draws: Vec<f64> = (0..100_000).map(|_| latency.draw(&mut rng).as_secs_f64() * 1e3).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        draws.sort_by(f64::total_cmp);
        assert!((draws[50_000] - 15.0).abs() < 0.2, "{}", draws[50_000]);
        assert!((mean - latency.mean().as_secs_f64() * 1e3).abs() < 0.2, "{mean}");
        // The 99th percentile of the standard normal is 2.326.
        assert!((draws[99_000] - 15.0 * (0.6 * 2.326f64).exp()).abs() < 2.0, "{}", draws[99_000]);
    }
}
