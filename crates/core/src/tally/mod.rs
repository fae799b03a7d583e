//! A count that only grows, and costs a load and a store.

mod per_thread;
#[cfg_attr(towpath_loom, path = "place_loom.rs")]
mod place;

pub use per_thread::PerThread;

use crate::sync::AtomicU64;
use place::{Place, places};
use std::{
    fmt,
    sync::atomic::Ordering::{Acquire, Relaxed, Release},
};

/// Counts that only grow: exact, and cheap from many threads at once. `N` counts share their room.
///
/// Each thread adds to a line of its own, which nobody else writes, so an addition is a load and a store and no
/// locked instruction, and threads do not take the line away from each other. The sum is read from all lines, which
/// is dearer: meant for what is counted with each call and looked at seldom. There are about twice as many
/// lines as processors; threads beyond that share the last one.
///
/// A sum never goes down. One that is read while others add may or may not hold what they add just then; of what it
/// holds, whatever the thread did before it added is seen too.
///
/// ```
/// let calls = towpath_core::Tally::<2>::new();
/// std::thread::scope(|scope| {
///     scope.spawn(|| (0..1_000).for_each(|_| calls.add(0, 1)));
///     scope.spawn(|| (0..1_000).for_each(|_| calls.add(1, 5)));
/// });
/// assert_eq!((calls.total(0), calls.total(1)), (1_000, 5_000));
/// ```
pub struct Tally<const N: usize = 1> {
    /// A line for each thread that has a place, and one for all others.
    lines: Box<[Line<N>]>,
}

/// Two cache lines: processors fetch them in pairs.
#[repr(align(128))]
struct Line<const N: usize>([AtomicU64; N]);

impl<const N: usize> Tally<N> {
    /// Zeros.
    pub fn new() -> Self {
        let line = |_| Line(std::array::from_fn(|_| AtomicU64::new(0)));
        Tally { lines: (0..=places()).map(line).collect() }
    }

    /// Adds to one of the counts; does nothing if there is no such count.
    #[inline]
    pub fn add(&self, count: usize, n: u64) {
        // The last line is shared.
        match self.lines.split_last() {
            Some((_, own)) if Place::get() < own.len() => {
                if let Some(cell) = own[Place::get()].0.get(count) {
                    cell.store(cell.load(Relaxed) + n, Release);
                }
            }
            _ => self.add_elsewhere(count, n),
        }
    }

    /// Adds to two of the counts, for little more than one costs: what is counted together.
    #[inline]
    pub fn add_both(&self, [first, second]: [(usize, u64); 2]) {
        match self.lines.split_last() {
            Some((_, own)) if Place::get() < own.len() => {
                let line = &own[Place::get()].0;
                for (count, n) in [first, second] {
                    if let Some(cell) = line.get(count) {
                        cell.store(cell.load(Relaxed) + n, Release);
                    }
                }
            }
            _ => {
                self.add_elsewhere(first.0, first.1);
                self.add_elsewhere(second.0, second.1);
            }
        }
    }

    /// As [`Tally::add`], out of line, and nothing to unwind from: between a call of an inner service and the place where its
    /// future is to be, it is in nobody's way. (With branches or a landing pad there the compiler moves the future.)
    #[inline(never)]
    pub(crate) extern "C" fn add_apart(&self, count: usize, n: u64) {
        self.add(count, n);
    }

    /// What was added to one of the counts.
    pub fn total(&self, count: usize) -> u64 {
        self.lines.iter().filter_map(|line| line.0.get(count)).map(|cell| cell.load(Acquire)).sum()
    }

    /// For a thread that has no place, or did not ask for one yet.
    ///
    /// Of C's kind, for one thing that comes with it: whoever calls it knows that it does not unwind. So a future that is
    /// there while something is counted need not be kept where a panic would find it, and is not copied from there.
    #[cold]
    #[allow(improper_ctypes_definitions)]
    extern "C" fn add_elsewhere(&self, count: usize, n: u64) {
        if Place::take() {
            return self.add(count, n);
        }
        if let Some(cell) = self.lines.last().and_then(|line| line.0.get(count)) {
            cell.fetch_add(n, Release);
        }
    }
}

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        Tally::new()
    }
}

impl<const N: usize> fmt::Debug for Tally<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..N).map(|count| self.total(count))).finish()
    }
}

#[cfg(all(test, not(towpath_loom)))]
mod tests {
    use super::*;
    use std::{sync::Barrier, thread};

    /// More threads at once than there are places, three times over: what left threads have counted stays.
    #[test]
    fn nothing_is_lost_and_nothing_twice() {
        let threads = places() + 5;
        let tally = Tally::<3>::new();
        for _ in 0..3 {
            let together = Barrier::new(threads);
            thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        tally.add(2, 1);
                        together.wait();
                        (0..5_000).for_each(|n| tally.add_both([(0, 2 * n), (1, 2 * n + 1)]));
                    });
                }
            });
        }
        let even: u64 = (0..10_000).step_by(2).sum();
        let runs = 3 * threads as u64;
        assert_eq!(
            (tally.total(0), tally.total(1), tally.total(2)),
            (runs * even, runs * (even + 5_000), runs)
        );
        assert_eq!(format!("{:?}", Tally::<2>::new()), "[0, 0]");
    }

    #[test]
    fn there_is_no_other_count() {
        let tally = Tally::<1>::new();
        tally.add(1, 1);
        tally.add_both([(1, 1), (2, 1)]);
        assert_eq!((tally.total(0), tally.total(1)), (0, 0));
        tally.add_both([(1, 1), (0, 3)]);
        assert_eq!(tally.total(0), 3);
    }
}
