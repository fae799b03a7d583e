//! What became of all calls, by the second in which they began.

use std::time::Duration;

/// What became of the calls of some time. Latencies are whole milliseconds, as virtual time is: nothing is rounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many there were.
    pub calls: u64,
    /// How many succeeded.
    pub ok: u64,
    /// How many took so many milliseconds.
    millis: Vec<u64>,
}

impl Tally {
    /// Adds a call.
    pub fn add(&mut self, took: Duration, ok: bool) {
        let millis = took.as_millis() as usize;
        if self.millis.len() <= millis {
            self.millis.resize(millis + 1, 0);
        }
        self.millis[millis] += 1;
        self.calls += 1;
        self.ok += u64::from(ok);
    }

    /// Adds the calls of another time.
    pub fn merge(&mut self, other: &Tally) {
        if self.millis.len() < other.millis.len() {
            self.millis.resize(other.millis.len(), 0);
        }
        self.millis.iter_mut().zip(&other.millis).for_each(|(own, other)| *own += other);
        self.calls += other.calls;
        self.ok += other.ok;
    }

    /// Which share succeeded; 1 of none.
    pub fn success(&self) -> f64 {
        if self.calls == 0 { 1.0 } else { self.ok as f64 / self.calls as f64 }
    }

    /// In how many milliseconds such a share of the calls was over.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((share * self.calls as f64).ceil() as u64).max(1);
        let mut sum = 0;
        let within = self.millis.iter().position(|calls| {
            sum += calls;
            sum >= rank
        });
        within.unwrap_or(0) as u64
    }

    /// Which share of the calls was over in less than so many milliseconds.
    pub fn within(&self, millis: usize) -> f64 {
        let calls: u64 = self.millis.iter().take(millis).sum();
        if self.calls == 0 { 1.0 } else { calls as f64 / self.calls as f64 }
    }
}

/// What became of all calls of a course.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Second by second.
    pub seconds: Vec<Tally>,
}

impl Ledger {
    /// For so many seconds.
    pub fn new(seconds: usize) -> Self {
        Ledger { seconds: vec![Tally::default(); seconds] }
    }

    /// Adds a call that began at that time.
    pub fn add(&mut self, began: Duration, took: Duration, ok: bool) {
        if let Some(second) = self.seconds.get_mut(began.as_secs() as usize) {
            second.add(took, ok);
        }
    }

    /// Adds another course, second by second.
    pub fn merge(&mut self, other: &Ledger) {
        if self.seconds.len() < other.seconds.len() {
            self.seconds.resize_with(other.seconds.len(), Tally::default);
        }
        self.seconds.iter_mut().zip(&other.seconds).for_each(|(own, other)| own.merge(other));
    }

    /// All of some time.
    pub fn sum(&self, seconds: impl Iterator<Item = usize>) -> Tally {
        let mut sum = Tally::default();
        seconds.filter_map(|second| self.seconds.get(second)).for_each(|tally| sum.merge(tally));
        sum
    }

    /// All of it.
    pub fn total(&self) -> Tally {
        self.sum(0..self.seconds.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_quantiles_are_exact() {
        let mut tally = Tally::default();
        assert_eq!((tally.success(), tally.within(1), tally.quantile(0.5)), (1.0, 1.0, 0));
        for millis in 1..=1000 {
            tally.add(Duration::from_millis(millis), millis != 7);
        }
        assert_eq!((tally.calls, tally.success()), (1000, 0.999));
        assert_eq!([0.0, 0.5, 0.99, 0.999, 1.0].map(|share| tally.quantile(share)), [1, 500, 990, 999, 1000]);
        assert_eq!((tally.within(1000), tally.within(1001)), (0.999, 1.0));
    }

    #[test]
    fn calls_are_of_the_second_in_which_they_began() {
        let mut ledger = Ledger::new(3);
        for (began, took) in [(0, 5), (999, 2_000), (1_000, 3), (3_000, 1)] {
            ledger.add(Duration::from_millis(began), Duration::from_millis(took), true);
        }
        assert_eq!(ledger.seconds.iter().map(|second| second.calls).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(ledger.total().quantile(1.0), 2_000);
        assert_eq!(ledger.sum(1..3).calls, 1);
    }
}
