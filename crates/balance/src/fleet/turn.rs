//! One at a time, and nobody waits: whoever comes while another is at it has that one do it once more.

use crate::sync::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

const IDLE: u8 = 0;
const BUSY: u8 = 1;
const AGAIN: u8 = 2;

/// Has work done by one thread at a time, without a lock that anybody waits for: so that the work may call what is not
/// ours, which may come back here.
pub(crate) struct Turn(AtomicU8);

/// If the work panics, the next one may do it.
struct Leave<'a>(&'a Turn);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.0.store(IDLE, Release);
    }
}

impl Turn {
    pub(crate) fn new() -> Self {
        Turn(AtomicU8::new(IDLE))
    }

    /// When this returns, the work has been begun after it was called, by this thread or by another one.
    pub(crate) fn run(&self, mut work: impl FnMut()) {
        if self.0.swap(AGAIN, AcqRel) != IDLE {
            return;
        }
        let leave = Leave(self);
        loop {
            self.0.swap(BUSY, AcqRel);
            work();
            if self.0.compare_exchange(BUSY, IDLE, AcqRel, Acquire).is_ok() {
                std::mem::forget(leave);
                return;
            }
        }
    }
}

#[cfg(all(test, not(towpath_loom)))]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn who_comes_back_has_it_done_once_more() {
        let (turn, mut done) = (Turn::new(), 0);
        turn.run(|| {
            done += 1;
            if done < 3 {
                turn.run(|| unreachable!());
            }
        });
        assert_eq!(done, 3);
    }

    #[test]
    fn a_panic_ends_the_turn() {
        let (turn, mut done) = (Turn::new(), 0);
        let panics = || std::panic::resume_unwind(Box::new("on purpose"));
        assert!(catch_unwind(AssertUnwindSafe(|| turn.run(panics))).is_err());
        turn.run(|| done += 1);
        assert_eq!(done, 1);
    }
}

/// Every order of two who have something to be done.
#[cfg(all(test, towpath_loom))]
mod orders {
    use super::*;
    use crate::sync::AtomicU64;
    use loom::{sync::Arc, thread};
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn nothing_is_left_undone() {
        loom::model(|| {
            let shared = Arc::new((Turn::new(), [AtomicU64::new(0), AtomicU64::new(0)], AtomicU64::new(0)));
            let both: Vec<_> = (0..2)
                .map(|own| {
                    let shared = shared.clone();
                    thread::spawn(move || {
                        let (turn, told, seen) = &*shared;
                        told[own].store(1, Relaxed);
                        // The work is never done by two at a time, so it may load and store.
                        turn.run(|| seen.store(told.iter().map(|one| one.load(Relaxed)).sum(), Relaxed));
                    })
                })
                .collect();
            for thread in both {
                thread.join().unwrap();
            }
            assert_eq!(shared.2.load(Relaxed), 2, "the last to work saw what both had told");
        });
    }
}
