//! One after another.

use super::{Pick, View};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use towpath_core::{Endpoint, PerThread};

/// Takes one endpoint after another. Knows neither load nor failures nor weights.
///
/// Each thread goes round by itself, so that they do not wait for each other; in sum the endpoints get the same.
#[derive(Debug)]
pub struct RoundRobin {
    next: PerThread<AtomicUsize>,
}

impl RoundRobin {
    /// Begins anywhere.
    pub fn new() -> Self {
        RoundRobin { next: PerThread::new(|| AtomicUsize::new(fastrand::u16(..).into())) }
    }
}

impl Default for RoundRobin {
    fn default() -> Self {
        RoundRobin::new()
    }
}

impl Pick for RoundRobin {
    type Table = ();

    fn table(&self, _endpoints: &[&Endpoint]) {}

    #[inline]
    fn pick(&self, _table: &(), view: &View<'_>) -> Option<usize> {
        let (len, cell) = (view.len(), self.next.get());
        // Threads that share a cell may take the same one twice.
        let mut next = cell.load(Relaxed);
        for _ in 0..len {
            let index = next % len;
            next = next.wrapping_add(1);
            if view.is_drawn(index) {
                // From the one after it: whoever stands after one that is not ready gets no more than the others.
                cell.store(next, Relaxed);
                return Some(index);
            }
        }
        view.any_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::rig::Rig;

    #[test]
    fn all_get_the_same_and_so_do_the_neighbours_of_those_that_are_out() {
        let rig = Rig::of(RoundRobin::new(), 5);
        assert_eq!(rig.shares(500), [100; 5]);
        rig.set_ready(1, false);
        rig.set_ready(4, false);
        assert_eq!(rig.shares(300), [100, 0, 100, 100, 0]);
        (0..5).for_each(|index| rig.set_ready(index, false));
        assert_eq!(rig.pick(), None);
        assert_eq!(Rig::of(RoundRobin::new(), 0).pick(), None);
    }
}
