//! Which line of a tally a thread writes.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
};

/// The place of this thread among those that count.
pub(super) struct Place;

/// It has not asked for one.
const UNKNOWN: usize = usize::MAX;
/// There was none left, or the thread is ending.
const NONE: usize = usize::MAX - 1;

/// Places that are taken, a bit for each.
static TAKEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(UNKNOWN) };
    /// Gives the place back when the thread ends.
    static KEEPER: Keeper = const { Keeper };
}

struct Keeper;

impl Drop for Keeper {
    fn drop(&mut self) {
        let place = PLACE.replace(NONE);
        if place < places() {
            // What this thread has counted is seen by the next one in its place.
            TAKEN.fetch_and(!(1 << place), Release);
        }
    }
}

impl Place {
    /// Its number, or a number that no place has.
    #[inline]
    pub(super) fn get() -> usize {
        PLACE.get()
    }

    /// Takes one if the thread has not asked yet; whether it has one now and had none before.
    #[cold]
    pub(super) fn take() -> bool {
        // Without a keeper (while the thread is ending) nobody would give it back.
        if PLACE.get() != UNKNOWN || KEEPER.try_with(|_| ()).is_err() {
            return false;
        }
        let take = |taken: u64| ((taken.trailing_ones() as usize) < places()).then_some(taken | (taken + 1));
        let taken = TAKEN.fetch_update(Acquire, Relaxed, take);
        PLACE.set(taken.map_or(NONE, |before| before.trailing_ones() as usize));
        taken.is_ok()
    }
}

/// How many threads can have a place: at most 63.
pub(super) fn places() -> usize {
    static PLACES: OnceLock<usize> = OnceLock::new();
    *PLACES.get_or_init(|| thread::available_parallelism().map_or(8, |n| (2 * n.get()).clamp(4, 63)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tally;

    #[test]
    fn places_are_given_back() {
        // Other tests of this process hold some; a thread that counts takes one and leaves it.
        for _ in 0..200 {
            let place = thread::spawn(|| {
                Tally::<1>::new().add(0, 1);
                PLACE.get()
            });
            assert_ne!(place.join().unwrap(), UNKNOWN);
        }
        assert!(TAKEN.load(Relaxed).count_ones() as usize <= places());
    }
}
