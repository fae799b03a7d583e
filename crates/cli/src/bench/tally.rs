//! What came of the calls.

use crate::exit::Failure;
use hdrhistogram::Histogram;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// What a call that was not sent in time is counted under.
pub(super) const UNSENT: &str = "not sent";

/// Counts and times of calls. Every call is in it once, whatever its outcome.
pub(super) struct Tally {
    /// In nanoseconds, to three digits.
    times: Histogram<u64>,
    failed: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn new() -> Result<Self, Failure> {
        let times = Histogram::new(3).map_err(|error| Failure::Other(error.to_string()))?;
        Ok(Tally { times, failed: BTreeMap::new() })
    }

    /// A call that took so long, and what it failed with.
    pub(super) fn add(&mut self, took: Duration, failed: Option<String>) {
        // It grows for whatever it is given; only a saturating record would not.
        let _ = self.times.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
        if let Some(code) = failed {
            *self.failed.entry(code).or_default() += 1;
        }
    }

    /// A call that was due, and waited so long in vain.
    pub(super) fn unsent(&mut self, waited: Duration) {
        self.add(waited, Some(UNSENT.to_owned()));
    }

    pub(super) fn sum(parts: &[Arc<Mutex<Tally>>]) -> Result<Self, Failure> {
        let mut sum = Tally::new()?;
        for part in parts {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            // The sum grows on its own, so it has room for all.
            let _ = sum.times.add(&part.times);
            for (code, count) in &part.failed {
                *sum.failed.entry(code.clone()).or_default() += count;
            }
        }
        Ok(sum)
    }

    pub(super) fn calls(&self) -> u64 {
        self.times.len()
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    /// How many failed, by code.
    pub(super) fn failures(&self) -> &BTreeMap<String, u64> {
        &self.failed
    }

    /// The time within which this share of the calls was answered.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.times.value_at_quantile(share))
    }

    pub(super) fn min(&self) -> Duration {
        Duration::from_nanos(self.times.min())
    }

    pub(super) fn max(&self) -> Duration {
        Duration::from_nanos(self.times.max())
    }

    pub(super) fn mean(&self) -> Duration {
        Duration::from_nanos(self.times.mean() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_has_all_of_its_parts() {
        let parts: Vec<_> = (0..3).map(|_| Arc::new(Mutex::new(Tally::new().unwrap()))).collect();
        for ms in 1..=300 {
            let failed = (ms % 100 == 0).then(|| "ORD-E-001".to_owned());
            parts[ms as usize % 3].lock().unwrap().add(Duration::from_millis(ms), failed);
        }
        parts[0].lock().unwrap().unsent(Duration::from_secs(7));
        let sum = Tally::sum(&parts).unwrap();
        assert_eq!((sum.calls(), sum.failed()), (301, 4));
        assert_eq!(sum.failures()["ORD-E-001"], 3);
        assert_eq!(sum.failures()[UNSENT], 1);
        let near = |got: Duration, ms: f64| (got.as_secs_f64() * 1e3 / ms - 1.0).abs() < 0.002;
        assert!(near(sum.quantile(0.5), 151.0), "{:?}", sum.quantile(0.5));
        assert!(near(sum.min(), 1.0) && near(sum.max(), 7000.0), "{:?} {:?}", sum.min(), sum.max());
    }
}
