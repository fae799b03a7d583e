//! Whether memory is steady.

/// Of the mean: what an allocator may do without anybody's fault.
const NOISE_SHARE: f64 = 0.05;
/// The same for a small process, in bytes.
const NOISE: f64 = 6.0 * 1024.0 * 1024.0;

/// Resident memory in bytes, where the system says it.
pub(crate) fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// What samples at equal distances say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trend {
    pub(crate) mean: f64,
    /// Over all of them, in bytes.
    pub(crate) growth: f64,
    pub(crate) steady: bool,
}

/// The growth is the median of the slopes between all pairs: no single leap makes it.
pub(crate) fn trend(samples: &[u64]) -> Option<Trend> {
    if samples.len() < 4 {
        return None;
    }
    // Enough pairs, of at most some hundred samples.
    let step = samples.len().div_ceil(400);
    let picked: Vec<(f64, f64)> =
        samples.iter().enumerate().step_by(step).map(|(at, bytes)| (at as f64, *bytes as f64)).collect();
    let mut slopes: Vec<f64> = Vec::new();
    for (n, (x0, y0)) in picked.iter().enumerate() {
        slopes.extend(picked[n + 1..].iter().map(|(x1, y1)| (y1 - y0) / (x1 - x0)));
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let growth = slopes[slopes.len() / 2] * (samples.len() - 1) as f64;
    let mean = samples.iter().map(|bytes| *bytes as f64).sum::<f64>() / samples.len() as f64;
    Some(Trend { mean, growth, steady: growth <= NOISE + NOISE_SHARE * mean })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_steady_and_a_leak_is_not() {
        let mut rng = fastrand::Rng::with_seed(1);
        let noise: Vec<u64> = (0..600).map(|_| 40_000_000 + rng.u64(0..4_000_000)).collect();
        assert!(trend(&noise).unwrap().steady);
        let mut leap = noise.clone();
        leap[100..140].iter_mut().for_each(|bytes| *bytes += 50_000_000);
        assert!(trend(&leap).unwrap().steady, "what came and went is no growth");
        let leak: Vec<u64> = noise.iter().zip(0..).map(|(bytes, at)| bytes + at * 30_000).collect();
        let trend = trend(&leak).unwrap();
        assert!(!trend.steady && (15e6..21e6).contains(&trend.growth), "{trend:?}");
    }
}
