//! A value for each thread.

use super::place::{Place, places};
use std::fmt;

/// A value for each of about twice as many threads as there are processors, and one for all others: so that threads
/// seldom meet over it. That they never do is not promised, so the value has to be one that can be shared.
pub struct PerThread<T>(Box<[Line<T>]>);

/// Two cache lines: processors fetch them in pairs.
#[repr(align(128))]
struct Line<T>(T);

impl<T> PerThread<T> {
    /// A value for each, made one after another.
    pub fn new(mut make: impl FnMut() -> T) -> Self {
        PerThread((0..=places()).map(|_| Line(make())).collect())
    }

    /// The one of this thread.
    #[inline]
    pub fn get(&self) -> &T {
        let last = self.0.len() - 1;
        let mut place = Place::get();
        if place > last {
            Place::take();
            place = Place::get();
        }
        &self.0[place.min(last)].0
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|line| &line.0)
    }
}

impl<T: fmt::Debug> fmt::Debug for PerThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(all(test, not(towpath_loom)))]
mod tests {
    use super::*;
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicU64, Ordering::Relaxed},
        },
        thread,
    };

    /// More threads at once than there are places: each has one, and the last is for the rest.
    #[test]
    fn threads_seldom_meet() {
        let (threads, values) = (places() + 5, PerThread::new(|| AtomicU64::new(0)));
        let together = Barrier::new(threads);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    values.get().fetch_add(1, Relaxed);
                    together.wait();
                    values.get().fetch_add(1, Relaxed);
                });
            }
        });
        let counts: Vec<_> = values.iter().map(|value| value.load(Relaxed)).collect();
        let (last, own) = counts.split_last().unwrap();
        assert!(own.iter().all(|count| *count <= 2), "{counts:?}");
        assert_eq!(last + own.iter().sum::<u64>(), 2 * threads as u64);
    }
}
