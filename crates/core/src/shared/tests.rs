//! That the state is there as long as anybody holds it, and is dropped once, when nobody does.

use super::*;
#[cfg(not(towpath_loom))]
use std::thread;
use std::{mem::drop, sync::Arc};

/// Says how often it was dropped; and to look at it after that is an error that tools see.
struct State {
    dropped: Arc<std::sync::atomic::AtomicUsize>,
    value: Box<u64>,
}

fn state() -> (Shared<State>, impl Fn() -> usize) {
    let dropped = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = dropped.clone();
    (Shared::new(State { dropped, value: Box::new(7) }), move || count.load(Relaxed))
}

impl Drop for State {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Relaxed);
    }
}

#[cfg(not(towpath_loom))]
mod alone {
    use super::*;

    #[test]
    fn the_last_to_go_frees() {
        let (first, dropped) = state();
        let second = first.clone();
        assert!(first.is_same(&second));
        let loans = [first.lend(), second.lend()];
        drop((first, second));
        let [a, b] = loans;
        let c = b.clone();
        drop((a, b));
        assert_eq!((dropped(), *c.value), (0, 7));
        drop(c);
        assert_eq!(dropped(), 1);

        let (owner, dropped) = state();
        drop(owner.lend());
        assert_eq!(dropped(), 0);
        drop(owner);
        assert_eq!(dropped(), 1);
    }

    /// State that holds state, as a stack of layers does: dropping one abandons another.
    #[test]
    fn states_nest() {
        let (inner, dropped) = state();
        let outer = Shared::new((inner.clone(), inner.lend()));
        let call = outer.lend();
        drop((inner, outer));
        assert_eq!(dropped(), 0);
        drop(call);
        assert_eq!(dropped(), 1);
    }

    /// Calls end on other threads while the last owner goes.
    #[test]
    fn nothing_is_freed_early_and_nothing_stays() {
        const ROUNDS: usize = if cfg!(miri) { 20 } else { 3_000 };
        for round in 0..ROUNDS {
            let (owner, dropped) = state();
            thread::scope(|scope| {
                for _ in 0..3 {
                    let owner = owner.clone();
                    let loan = owner.lend();
                    scope.spawn(move || {
                        let more: Vec<_> = (0..round % 5).map(|_| owner.lend()).collect();
                        drop(owner);
                        let last = loan.clone();
                        drop((loan, more));
                        assert_eq!(*last.value, 7);
                    });
                }
                drop(owner);
            });
            assert_eq!(dropped(), 1, "round {round}");
        }
    }
}

#[cfg(towpath_loom)]
mod orders {
    use super::*;
    use loom::{model, thread};

    /// A call ends while the last owner goes: one of them frees, whatever the order.
    #[test]
    fn a_call_ends_while_the_last_owner_goes() {
        model(|| {
            let (owner, dropped) = state();
            let loan = owner.lend();
            let call = thread::spawn(move || {
                assert_eq!(*loan.value, 7);
                drop(loan);
            });
            drop(owner);
            call.join().unwrap();
            assert_eq!(dropped(), 1);
        });
    }

    /// Two calls end, one of which has lent on; the owner is gone before.
    #[test]
    fn the_last_two_calls_end_together() {
        model(|| {
            let (owner, dropped) = state();
            let (first, second) = (owner.lend(), owner.lend());
            drop(owner);
            let call = thread::spawn(move || {
                let third = first.clone();
                drop(first);
                assert_eq!(*third.value, 7);
            });
            drop(second);
            call.join().unwrap();
            assert_eq!(dropped(), 1);
        });
    }

    /// Two owners go at once, and one has a call.
    #[test]
    fn two_owners_go() {
        model(|| {
            let (owner, dropped) = state();
            let other = owner.clone();
            let call = thread::spawn(move || {
                let loan = other.lend();
                drop(other);
                assert_eq!(*loan.value, 7);
            });
            drop(owner);
            call.join().unwrap();
            assert_eq!(dropped(), 1);
        });
    }
}
