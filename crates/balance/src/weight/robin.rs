//! One after another, by weight.

use super::Turns;
use crate::pick::{Pick, View};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use towpath_core::{Endpoint, PerThread};

/// Takes one endpoint after another, heavier ones more often, and never many times in a row: at each moment each has had
/// its share, give or take one call. Knows neither load nor failures.
///
/// The order is computed once for a set of endpoints; see [nginx's smooth weighted round
/// robin](https://nginx.org/en/docs/http/ngx_http_upstream_module.html), which looks at all of them for each call. Each
/// thread goes round by itself, so that they do not wait for each other. Weights whose sum, divided by what they have in
/// common, is above 65 536 (or 32 for each endpoint) are rounded to that.
#[derive(Debug)]
pub struct WeightedRoundRobin {
    next: PerThread<AtomicUsize>,
}

/// A thread has not picked yet.
const NOT_BEGUN: usize = usize::MAX;
/// So many turns of endpoints that take no calls are skipped before all are looked at.
const SKIPPED: usize = 1024;

impl WeightedRoundRobin {
    /// Begins anywhere, with the first pick of a thread: what is drawn by lot is not to depend on how many there could be.
    pub fn new() -> Self {
        WeightedRoundRobin { next: PerThread::new(|| AtomicUsize::new(NOT_BEGUN)) }
    }
}

impl Default for WeightedRoundRobin {
    fn default() -> Self {
        WeightedRoundRobin::new()
    }
}

impl Pick for WeightedRoundRobin {
    type Table = Turns;

    fn is_heavy(&self) -> bool {
        true
    }

    fn table(&self, endpoints: &[&Endpoint]) -> Turns {
        Turns::new(&endpoints.iter().map(|endpoint| endpoint.weight()).collect::<Vec<_>>())
    }

    #[inline]
    fn pick(&self, table: &Turns, view: &View<'_>) -> Option<usize> {
        let cell = self.next.get();
        // Threads that share a cell may take the same turn.
        let mut turn = cell.load(Relaxed);
        for _ in 0..SKIPPED.min(table.len()) {
            if turn >= table.len() {
                turn = if turn == NOT_BEGUN { fastrand::usize(..table.len()) } else { turn % table.len() };
            }
            let index = table.get(turn);
            turn += 1;
            if view.is_drawn(index) {
                // From the turn after it: who comes after one that is skipped gets no more than the others.
                cell.store(turn, Relaxed);
                return Some(index);
            }
        }
        cell.store(turn, Relaxed);
        view.any_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::rig::Rig;

    fn rig(weights: &[u32]) -> Rig<WeightedRoundRobin> {
        fastrand::seed(1);
        let endpoints = weights.iter().map(|weight| Endpoint::new("a").with_weight(*weight));
        Rig::new(WeightedRoundRobin::new(), endpoints)
    }

    #[test]
    fn shares_are_exact() {
        assert_eq!(rig(&[0, 1, 2, 5, 92]).shares(1_000), [0, 10, 20, 50, 920]);
        assert_eq!(rig(&[1, 1, 1]).shares(300), [100, 100, 100]);
        assert_eq!(rig(&[]).pick(), None);
    }

    #[test]
    fn the_others_keep_their_proportions() {
        let rig = rig(&[1, 2, 3, 94]);
        rig.set_ready(3, false);
        for (share, weight) in rig.shares(6_000).into_iter().zip([1, 2, 3, 0]) {
            assert!(share.abs_diff(1_000 * weight) <= 1, "{share} for {weight}");
        }
        (0..3).for_each(|index| rig.set_ready(index, false));
        assert_eq!(rig.pick(), None);
    }

    #[test]
    fn the_only_one_is_found_however_light() {
        let rig = rig(&[u32::MAX, 1]);
        rig.set_ready(0, false);
        assert_eq!(rig.shares(100), [0, 100]);
    }
}
