//! Which line of a tally a thread writes, where every order of what threads do is tried: the first two threads
//! have lines of their own, the others share the last.

use std::cell::Cell;

pub(super) struct Place;

loom::lazy_static! {
    static ref NEXT: loom::sync::atomic::AtomicUsize = loom::sync::atomic::AtomicUsize::new(0);
}

loom::thread_local! {
    static PLACE: Cell<usize> = Cell::new(usize::MAX);
}

impl Place {
    pub(super) fn get() -> usize {
        PLACE.with(Cell::get)
    }

    pub(super) fn take() -> bool {
        let unknown = Place::get() == usize::MAX;
        if unknown {
            // No order comes from it that the real one does not have.
            let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            PLACE.with(|place| place.set(next));
        }
        unknown
    }
}

pub(super) fn places() -> usize {
    2
}
