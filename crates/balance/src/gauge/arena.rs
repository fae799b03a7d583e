//! Where the gauges are: in blocks that stay where they are for as long as the fleet, so that a call needs no
//! reference of its own to the gauge that counts it.

use super::Gauge;
use crate::sync::Mutex;
use std::sync::{OnceLock, PoisonError};

/// The gauges of the first block; few where each order is tried, as all are made anew for each.
const FIRST: u32 = if cfg!(towpath_loom) { 1 } else { 64 };
/// Each block is twice as large as the one before: room for all that 32 bits can number.
const BLOCKS: usize = 26;

/// Which gauge, and in which of its lives. One that was given back is given to another endpoint in its next life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) generation: u16,
}

/// All gauges of a fleet.
pub(crate) struct Arena {
    blocks: [OnceLock<Box<[Gauge]>>; BLOCKS],
    free: Mutex<Free>,
    /// What a slot that there is not would have.
    none: Gauge,
}

#[derive(Default)]
struct Free {
    /// How many were ever given out.
    used: u32,
    /// Given back; the next to be given out is the one that rests longest.
    slots: std::collections::VecDeque<u32>,
}

impl Arena {
    pub(crate) fn new() -> Self {
        let blocks = [const { OnceLock::new() }; BLOCKS];
        Arena { blocks, free: Mutex::new(Free::default()), none: Gauge::new() }
    }

    #[inline]
    pub(crate) fn at(&self, slot: u32) -> &Gauge {
        let number = slot.wrapping_add(FIRST);
        let block = number.checked_ilog2().unwrap_or(0).wrapping_sub(FIRST.ilog2());
        let gauge = self.blocks.get(block as usize).and_then(OnceLock::get);
        let gauge = gauge.and_then(|block| block.get((number as usize) & (block.len() - 1)));
        gauge.unwrap_or(&self.none)
    }

    /// A gauge for an endpoint. `None`: there are four thousand million.
    pub(crate) fn take(&self) -> Option<Key> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match free.slots.pop_front() {
            Some(slot) => slot,
            None => {
                let slot = free.used;
                let number = slot.checked_add(FIRST)?;
                let block = number.ilog2() - FIRST.ilog2();
                let make = || (0..FIRST << block).map(|_| Gauge::new()).collect();
                self.blocks.get(block as usize)?.get_or_init(make);
                free.used += 1;
                slot
            }
        };
        Some(Key { slot, generation: self.at(slot).flight.generation() })
    }

    /// Gives it back, if no call is under way there.
    pub(crate) fn give_back(&self, key: Key) -> bool {
        let gauge = self.at(key.slot);
        let idle = gauge.flight.recycle(key.generation);
        if idle {
            gauge.reset();
            self.free.lock().unwrap_or_else(PoisonError::into_inner).slots.push_back(key.slot);
        }
        idle
    }
}

#[cfg(all(test, not(towpath_loom)))]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_slot_has_a_gauge_of_its_own() {
        let arena = Arena::new();
        let keys: Vec<_> = (0..1_000).map(|_| arena.take().unwrap()).collect();
        let places: HashSet<_> = keys.iter().map(|key| std::ptr::from_ref(arena.at(key.slot))).collect();
        assert_eq!(places.len(), 1_000);
        assert!(!places.contains(&std::ptr::from_ref(&arena.none)));
        assert!(std::ptr::eq(arena.at(5_000_000), &arena.none));
        assert!(std::ptr::eq(arena.at(u32::MAX), &arena.none));
    }

    #[test]
    fn what_is_given_back_is_another_in_its_next_life() {
        let arena = Arena::new();
        let first = arena.take().unwrap();
        let gauge = arena.at(first.slot);
        assert!(gauge.enter(first.generation));
        assert!(!arena.give_back(first), "a call is under way");
        gauge.leave();
        assert!(arena.give_back(first) && !arena.give_back(first));
        let again = arena.take().unwrap();
        assert_eq!((again.slot, again.generation), (first.slot, first.generation + 1));
        assert!(!gauge.enter(first.generation));
        assert_eq!(gauge.in_flight(), 0);
    }
}

/// Every order of two calls, and an endpoint that leaves and whose gauge another one is given.
#[cfg(all(test, towpath_loom))]
mod orders {
    use super::*;
    use loom::{sync::Arc, thread};

    #[test]
    fn nothing_of_one_endpoint_is_counted_for_the_next() {
        loom::model(|| {
            let arena = Arc::new(Arena::new());
            let first = arena.take().unwrap();
            let calls = [false, true].map(|fails| {
                let arena = arena.clone();
                // As a call does that picked before the endpoint left.
                thread::spawn(move || {
                    let gauge = arena.at(first.slot);
                    if gauge.enter(first.generation) {
                        gauge.ended(fails, 1, 0.1);
                        gauge.took(1e6, 1, 0.1);
                        gauge.leave();
                    }
                })
            });
            let gauge = arena.at(first.slot);
            let next = arena.give_back(first).then(|| arena.take().unwrap());
            if let Some(next) = next {
                assert_eq!((next.slot, next.generation), (first.slot, first.generation + 1));
                assert!(gauge.enter(next.generation));
                assert!(gauge.is_plain() && !gauge.has_answered(), "it is as new");
            }
            for call in calls {
                call.join().unwrap();
            }
            assert_eq!(gauge.in_flight(), u32::from(next.is_some()));
            match next {
                Some(_) => assert!(gauge.is_plain() && !gauge.has_answered() && gauge.picks() == 1),
                None => assert!(arena.give_back(first), "nobody is left there"),
            }
        });
    }
}
