//! How full the endpoints are beside each other, as far as was seen.
//!
//! To count the calls of all endpoints for each pick would take as long as there are endpoints. So each pick looks at
//! one more, in turn, and at those that it would take; the sum is that of what was last seen of each.

use crate::pick::View;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use towpath_core::PerThread;

/// How full the endpoints are beside each other.
pub(crate) struct Crowd {
    floor: u32,
    /// The share of all calls with which each one is full.
    bounds: Box<[f32]>,
    seen: Box<[AtomicU32]>,
    sum: AtomicU64,
    next: PerThread<AtomicUsize>,
}

impl Crowd {
    /// Endpoints are full with more than `bound` times their share, by weight, but not with fewer than `floor` calls.
    pub(crate) fn new(bound: f64, floor: u32, weights: &[u32]) -> Self {
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        Crowd {
            floor,
            bounds: weights.iter().map(|weight| (bound * f64::from(*weight) / sum.max(1.0)) as f32).collect(),
            seen: weights.iter().map(|_| AtomicU32::new(0)).collect(),
            sum: AtomicU64::new(0),
            next: PerThread::new(|| AtomicUsize::new(fastrand::u16(..).into())),
        }
    }

    /// Looks at one more.
    #[inline]
    pub(crate) fn look(&self, view: &View<'_>) {
        let cell = self.next.get();
        let mut index = cell.load(Relaxed);
        if index >= self.seen.len() {
            index = 0;
        }
        cell.store(index + 1, Relaxed);
        self.see(view, index);
    }

    /// Whether one more call would be more than it should have.
    #[inline]
    pub(crate) fn is_full(&self, view: &View<'_>, index: usize) -> bool {
        let calls = self.see(view, index);
        // The bound is that of all calls with this one, rounded up.
        let all = self.sum.load(Relaxed) + 1;
        calls >= self.floor && calls as f32 >= self.bounds.get(index).map_or(0.0, |bound| bound * all as f32)
    }

    #[inline]
    fn see(&self, view: &View<'_>, index: usize) -> u32 {
        let calls = view.in_flight(index);
        if let Some(seen) = self.seen.get(index)
            && seen.load(Relaxed) != calls
        {
            // Whoever swaps accounts for the difference to what was swapped out: so the sum is right in the end.
            let before = seen.swap(calls, Relaxed);
            self.sum.fetch_add(u64::from(calls).wrapping_sub(before.into()), Relaxed);
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PowerOfTwo, pick::rig::Rig};

    #[test]
    fn full_is_more_than_a_multiple_of_the_share() {
        let rig = Rig::of(PowerOfTwo::new(), 4);
        let crowd = Crowd::new(1.5, 3, &[1, 1, 1, 1]);
        let calls = [9, 3, 1, 0];
        for (index, calls) in calls.into_iter().enumerate() {
            (0..calls).for_each(|_| assert!(rig.gauge(index).enter(0)));
        }
        rig.see(|view| {
            assert!(crowd.is_full(view, 0), "nothing else was seen yet");
            (0..4).for_each(|_| crowd.look(view));
            assert_eq!(crowd.sum.load(Relaxed), 13);
            // A share of 14 calls and a half more: 5.25.
            assert_eq!([0, 1, 2, 3].map(|index| crowd.is_full(view, index)), [true, false, false, false]);
            (0..4).for_each(|_| assert!(rig.gauge(1).enter(0)));
            assert!(crowd.is_full(view, 1));
            (0..8).for_each(|_| rig.gauge(0).leave());
            (0..4).for_each(|_| crowd.look(view));
            assert_eq!(crowd.sum.load(Relaxed), 9);
            assert!(!crowd.is_full(view, 0) && crowd.is_full(view, 1));
            (0..5).for_each(|_| rig.gauge(1).leave());
            (0..4).for_each(|_| crowd.look(view));
            assert!(!crowd.is_full(view, 1), "2 of 4 is twice the share, but below the floor");
        });
    }
}
