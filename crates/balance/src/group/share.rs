//! Shares of the traffic, and the numbers by which calls are shared out.

use crate::{
    hash::{KeyFrom, key},
    pick::View,
};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use towpath_core::PerThread;

/// All of it.
pub(crate) const ALL: u32 = u32::MAX;

/// How far the share goes that ends here, counted from the first: a number below it is within.
#[inline]
pub(crate) fn within(number: u32, upto: u32) -> bool {
    number < upto || upto == ALL
}

/// Where the shares end that groups have by their health, from 0 to 1 each: the first has as much as it is good for, the
/// next one what is left, and so on. If all together are not good for all of it, each has its part of what they are.
pub(crate) fn by_health(healths: &[f32]) -> impl Iterator<Item = u32> {
    let sum: f32 = healths.iter().sum();
    let scale = if sum > 0.0 { 1.0 / sum.min(1.0) } else { 0.0 };
    let mut upto = 0.0;
    healths.iter().map(move |health| {
        upto += health * scale;
        if sum == 0.0 { ALL } else { upto_of(upto.into()) }
    })
}

/// Where the shares end of those who have these weights.
pub(crate) fn by_weight(weights: &[u32]) -> impl Iterator<Item = u32> {
    let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let mut upto = 0.0;
    weights.iter().map(move |weight| {
        upto += f64::from(*weight);
        upto_of(upto / sum)
    })
}

fn upto_of(share: f64) -> u32 {
    // A float that is too large becomes the largest there is.
    if share > 1.0 - 1e-6 { ALL } else { (share * 4_294_967_296.0) as u32 }
}

/// The number of a call that has a key: always the same, and in every process. `None`: it has none.
#[inline]
pub(crate) fn of_key(keys: &[KeyFrom], view: &View<'_>) -> Option<u32> {
    key(keys, view).map(crate::hash::share_of)
}

/// Numbers for calls that have no key: so far from each other that each share is met exactly, give or take a few calls,
/// however many there were. (Multiples of the golden ratio.) Each thread has a sequence of its own.
#[derive(Debug)]
pub(crate) struct Spread(PerThread<AtomicU32>);

const GOLDEN: u32 = 0x9e37_79b9;

impl Spread {
    pub(crate) fn new() -> Self {
        Spread(PerThread::new(|| AtomicU32::new(fastrand::u32(..))))
    }

    #[inline]
    pub(crate) fn next(&self) -> u32 {
        let cell = self.0.get();
        // Threads that share a cell may get the same number.
        let number = cell.load(Relaxed).wrapping_add(GOLDEN);
        cell.store(number, Relaxed);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(upto: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut last = 0;
        let points = upto.map(|upto| (f64::from(upto) / f64::from(ALL) * 1_000.0).round() as u32);
        points.map(|upto| upto - std::mem::replace(&mut last, upto)).collect()
    }

    /// Those that Envoy's documentation of priority levels has, with its factor of 1.4.
    #[test]
    fn as_much_as_each_is_good_for() {
        let healths = |healths: &[f32]| {
            shares(by_health(&healths.iter().map(|h| (h * 1.4).min(1.0)).collect::<Vec<_>>()))
        };
        assert_eq!(healths(&[1.0, 1.0]), [1_000, 0]);
        assert_eq!(healths(&[0.72, 0.72]), [1_000, 0]);
        assert_eq!(healths(&[0.71, 0.71]), [994, 6]);
        assert_eq!(healths(&[0.5, 0.5]), [700, 300]);
        assert_eq!(healths(&[0.25, 1.0]), [350, 650]);
        assert_eq!(healths(&[0.25, 0.25]), [500, 500]);
        assert_eq!(healths(&[0.0, 1.0]), [0, 1_000]);
        assert_eq!(healths(&[0.2, 0.2, 0.6]), [280, 280, 440]);
        assert_eq!(healths(&[0.0, 0.0]), [1_000, 0]);
    }

    #[test]
    fn as_much_as_each_weighs() {
        assert_eq!(shares(by_weight(&[5, 95])), [50, 950]);
        assert_eq!(shares(by_weight(&[0, 1, 0])), [0, 1_000, 0]);
        assert!(!within(0, 0) && within(ALL, ALL) && within(4, 5) && !within(5, 5));
    }

    #[test]
    fn shares_are_met_by_few_calls() {
        let spread = Spread::new();
        for percent in [1, 5, 37, 99] {
            let upto = by_weight(&[percent, 100 - percent]).next().unwrap();
            let met = (0..1_000).filter(|_| within(spread.next(), upto)).count();
            assert!(met.abs_diff(10 * percent as usize) <= 4, "{met} of {percent} %");
        }
    }

    proptest! {
        #[test]
        fn all_is_shared_out(healths in proptest::collection::vec(0.0f32..=1.0, 1..9)) {
            let upto: Vec<_> = by_health(&healths).collect();
            prop_assert!(upto.is_sorted());
            prop_assert_eq!(upto.last(), Some(&ALL), "{:?}", healths);
        }
    }
}
