//! How full the endpoints are beside each other, as far as was seen.
//!
//! To count the calls of all endpoints for each pick would take as long as there are endpoints. So each pick looks at
//! one more, in turn, and at those that it would take; the sum is that of what was last seen of each.

use crate::{
    pick::View,
    sync::{AtomicI64, AtomicU32},
};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use towpath_core::PerThread;

/// Each thread begins anywhere, when it picks for the first time.
const NOT_BEGUN: usize = usize::MAX;

/// How full the endpoints are beside each other.
pub(crate) struct Crowd {
    floor: u32,
    /// The share of all calls with which each one is full.
    bounds: Box<[f32]>,
    seen: Box<[AtomicU32]>,
    /// Below 0 while one who saw less has accounted for it, and one who saw more before has not yet.
    sum: AtomicI64,
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
            sum: AtomicI64::new(0),
            next: PerThread::new(|| AtomicUsize::new(NOT_BEGUN)),
        }
    }

    /// Looks at one more.
    #[inline]
    pub(crate) fn look(&self, view: &View<'_>) {
        let cell = self.next.get();
        let mut index = cell.load(Relaxed);
        if index >= self.seen.len() {
            index = if index == NOT_BEGUN { fastrand::usize(..self.seen.len().max(1)) } else { 0 };
        }
        cell.store(index + 1, Relaxed);
        self.see(view, index);
    }

    /// Whether one more call would be more than it should have.
    #[inline]
    pub(crate) fn is_full(&self, view: &View<'_>, index: usize) -> bool {
        let calls = self.see(view, index);
        self.is_too_much(index, calls)
    }

    #[inline]
    fn is_too_much(&self, index: usize, calls: u32) -> bool {
        // The bound is that of all calls with this one, rounded up.
        let all = self.sum.load(Relaxed).max(0) + 1;
        calls >= self.floor && calls as f32 >= self.bounds.get(index).map_or(0.0, |bound| bound * all as f32)
    }

    #[inline]
    fn see(&self, view: &View<'_>, index: usize) -> u32 {
        let calls = view.in_flight(index);
        self.note(index, calls);
        calls
    }

    /// There are so many calls at one of them.
    #[inline]
    fn note(&self, index: usize, calls: u32) {
        if let Some(seen) = self.seen.get(index)
            && seen.load(Relaxed) != calls
        {
            // Whoever swaps accounts for the difference to what was swapped out: so the sum is right in the end.
            let before = seen.swap(calls, Relaxed);
            self.sum.fetch_add(i64::from(calls) - i64::from(before), Relaxed);
        }
    }
}

#[cfg(all(test, not(towpath_loom)))]
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

/// Every order of two calls that pick, are counted and end.
#[cfg(all(test, towpath_loom))]
mod orders {
    use super::*;
    use loom::{sync::Arc, thread};

    /// Two endpoints of one weight, the first of which every key belongs to.
    struct Fleet {
        crowd: Crowd,
        calls: [AtomicU32; 2],
    }

    impl Fleet {
        fn with(calls: [u32; 2]) -> Arc<Self> {
            let fleet = Fleet { crowd: Crowd::new(1.0, 1, &[1, 1]), calls: calls.map(AtomicU32::new) };
            fleet.see_all();
            Arc::new(fleet)
        }

        fn see(&self, index: usize) -> u32 {
            let calls = self.calls[index].load(Relaxed);
            self.crowd.note(index, calls);
            calls
        }

        fn see_all(&self) {
            (0..2).for_each(|index| _ = self.see(index));
        }

        fn is_full(&self, index: usize) -> bool {
            let calls = self.see(index);
            self.crowd.is_too_much(index, calls)
        }

        /// A call is under way from here on.
        fn pick(&self) -> usize {
            let picked = usize::from(self.is_full(0));
            self.calls[picked].fetch_add(1, Relaxed);
            picked
        }

        fn sum(&self) -> i64 {
            self.crowd.sum.load(Relaxed)
        }
    }

    #[test]
    fn no_call_is_forgotten_in_the_sum() {
        loom::model(|| {
            let fleet = Fleet::with([0, 0]);
            let calls = [(); 2].map(|()| {
                let fleet = fleet.clone();
                thread::spawn(move || {
                    let picked = fleet.pick();
                    fleet.see(picked);
                    fleet.calls[picked].fetch_sub(1, Relaxed);
                    fleet.see(picked);
                })
            });
            for call in calls {
                call.join().unwrap();
            }
            fleet.see_all();
            assert_eq!(fleet.sum(), 0);
            assert!(!fleet.is_full(0) && !fleet.is_full(1));
        });
    }

    #[test]
    fn a_bound_is_exceeded_only_by_those_who_pick_at_once() {
        loom::model(|| {
            let fleet = Fleet::with([2, 2]);
            let picks = [1, 2].map(|picks| {
                let fleet = fleet.clone();
                thread::spawn(move || (0..picks).for_each(|_| _ = fleet.pick()))
            });
            for pick in picks {
                pick.join().unwrap();
            }
            let [first, second] = [0, 1].map(|index| fleet.see(index));
            // Half of them, rounded up, and one for the other who picked meanwhile.
            assert!(first <= 7_u32.div_ceil(2) + 1, "{first} of 7");
            assert_eq!((fleet.sum(), first + second), (7, 7));
            assert!(fleet.is_full(usize::from(first < second)), "the fuller one has none to spare");
            assert!(!fleet.is_full(usize::from(first > second)), "the emptier one has room");
        });
    }
}
