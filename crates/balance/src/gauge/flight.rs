//! How many calls are under way at an endpoint, and how many there ever were: one word.
//!
//! A call adds to it once and takes from it once; that is all the locking there is on the path of a call. The word also
//! holds the generation of the gauge, so that a call that comes too late, when the gauge has become another
//! endpoint's, finds that out by the very addition that counts it.

use crate::sync::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const IN_FLIGHT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 16;
const PICKS_SHIFT: u32 = IN_FLIGHT_BITS + GENERATION_BITS;
const IN_FLIGHT: u64 = (1 << IN_FLIGHT_BITS) - 1;
/// One call, picked and under way. What overflows at the top is dropped; [`Entered::Wrapped`] says so.
const CALL: u64 = 1 << PICKS_SHIFT | 1;

/// Calls ever (24 bits, at the top, which wrap), generation (16 bits), calls under way (24 bits: memory for the
/// futures of as many calls ends long before).
#[derive(Debug)]
pub(crate) struct Flight(AtomicU64);

/// What became of a call that wanted to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// It is counted.
    Counted,
    /// It is counted, and with it the count of all calls began again from 0.
    Wrapped,
    /// It is not: the gauge is another endpoint's by now.
    TooLate,
}

impl Flight {
    pub(crate) fn new() -> Self {
        Flight(AtomicU64::new(0))
    }

    #[inline]
    pub(crate) fn enter(&self, generation: u16) -> Entered {
        let before = self.0.fetch_add(CALL, Relaxed);
        if generation_of(before) != generation {
            self.0.fetch_sub(CALL, Relaxed);
            return Entered::TooLate;
        }
        if before >> PICKS_SHIFT == u64::MAX >> PICKS_SHIFT { Entered::Wrapped } else { Entered::Counted }
    }

    /// Once for each call that entered. What it wrote to the gauge is seen by whoever recycles it.
    #[inline]
    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Release);
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        (self.0.load(Relaxed) & IN_FLIGHT) as u32
    }

    /// Calls ever, but for those that were wrapped away.
    pub(crate) fn picks(&self) -> u64 {
        self.0.load(Relaxed) >> PICKS_SHIFT
    }

    pub(crate) fn generation(&self) -> u16 {
        generation_of(self.0.load(Relaxed))
    }

    /// Begins the next generation, if no call of this one is under way.
    pub(crate) fn recycle(&self, generation: u16) -> bool {
        let before = self.0.load(Relaxed);
        let idle = before & IN_FLIGHT == 0 && generation_of(before) == generation;
        let next = u64::from(generation.wrapping_add(1)) << IN_FLIGHT_BITS;
        idle && self.0.compare_exchange(before, next, Acquire, Relaxed).is_ok()
    }
}

const fn generation_of(word: u64) -> u16 {
    (word >> IN_FLIGHT_BITS) as u16
}

#[cfg(all(test, not(towpath_loom)))]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_and_the_late_are_not() {
        let flight = Flight::new();
        assert_eq!(
            [flight.enter(0), flight.enter(0), flight.enter(1)],
            [Entered::Counted, Entered::Counted, Entered::TooLate]
        );
        assert_eq!((flight.in_flight(), flight.picks()), (2, 2));
        assert!(!flight.recycle(0));
        flight.leave();
        flight.leave();
        assert_eq!((flight.in_flight(), flight.picks()), (0, 2));
        assert!(!flight.recycle(1) && flight.recycle(0) && !flight.recycle(0));
        assert_eq!((flight.in_flight(), flight.picks(), flight.generation()), (0, 0, 1));
        assert_eq!(flight.enter(0), Entered::TooLate);
        assert_eq!(flight.enter(1), Entered::Counted);
    }

    #[test]
    fn the_count_of_all_calls_wraps_and_says_so() {
        let flight = Flight::new();
        flight.0.store((u64::MAX >> PICKS_SHIFT) << PICKS_SHIFT | 7 << IN_FLIGHT_BITS, Relaxed);
        assert_eq!(flight.enter(7), Entered::Wrapped);
        assert_eq!((flight.picks(), flight.in_flight(), flight.generation()), (0, 1, 7));
    }
}

/// Every order of two calls and one who recycles.
#[cfg(all(test, towpath_loom))]
mod orders {
    use super::*;
    use loom::{sync::Arc, thread};

    #[test]
    fn no_call_is_counted_in_another_generation() {
        loom::model(|| {
            let flight = Arc::new(Flight::new());
            let calls: Vec<_> = (0..2)
                .map(|_| {
                    let flight = flight.clone();
                    thread::spawn(move || {
                        let entered = flight.enter(0) != Entered::TooLate;
                        if entered {
                            assert_eq!(flight.generation(), 0, "it lasts as long as its calls");
                            assert!(flight.in_flight() > 0);
                            flight.leave();
                        }
                    })
                })
                .collect();
            let recycled = flight.recycle(0);
            for call in calls {
                call.join().unwrap();
            }
            assert_eq!(flight.in_flight(), 0);
            assert_eq!(flight.generation(), u16::from(recycled));
            assert!(recycled || flight.recycle(0));
        });
    }
}
