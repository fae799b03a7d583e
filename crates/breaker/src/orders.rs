//! Every order in which threads can ask to be let through, and end.
// Helpers of tests are not #[test] themselves.
#![allow(clippy::unwrap_used)]

use crate::{
    BreakerConfig, BreakerOptions, Mode, State,
    cell::{Cell, Outcome, Pass},
    settings::Settings,
};
use fastrand::Rng;
use loom::{sync::Arc, thread};
use std::time::Duration;
use tokio::time::Instant;
use towpath_core::Live;

const BAD: Outcome = Outcome::Bad { soft: false };

/// A breaker that opens after two failures in a row, and the time.
struct Bench {
    cell: Arc<Cell>,
    now: Instant,
}

impl Bench {
    fn new(probes: u16) -> Self {
        let options = BreakerOptions {
            consecutive_failures: Some(2),
            failure_rate: None,
            jitter: 0.0,
            probes,
            ..BreakerOptions::default()
        };
        let config = Live::new(BreakerConfig::try_new(options).unwrap());
        let settings = std::sync::Arc::new(Settings { config, trip: None, observe: None });
        let now = Instant::now();
        Bench { cell: Arc::new(Cell::new("".into(), None, settings, now, Rng::with_seed(1))), now }
    }

    fn end(&self, pass: Pass, outcome: Outcome) {
        self.cell.finish(pass, outcome, self.now, self.now);
    }

    /// Opens it, and lets the open time go by.
    fn open(&mut self) {
        for _ in 0..2 {
            self.end(self.cell.admit(self.now).unwrap(), BAD);
        }
        self.now += Duration::from_secs(5);
    }

    fn state(&self) -> State {
        self.cell.view(self.now).state
    }

    /// Runs `other` in another thread beside `own`.
    fn beside<T: 'static, O>(
        &self,
        other: impl FnOnce(&Cell, Instant) -> T + 'static,
        own: impl FnOnce(&Cell, Instant) -> O,
    ) -> (T, O) {
        let (cell, now) = (self.cell.clone(), self.now);
        let other = thread::spawn(move || other(&cell, now));
        let own = own(&self.cell, self.now);
        (other.join().unwrap(), own)
    }
}

fn admit(cell: &Cell, now: Instant) -> Option<Pass> {
    cell.admit(now).ok()
}

#[test]
fn of_those_who_come_at_once_exactly_k_are_probes() {
    for k in [1, 2] {
        loom::model(move || {
            let mut bench = Bench::new(k);
            bench.open();
            let (cell, now) = (bench.cell.clone(), bench.now);
            let third = thread::spawn(move || admit(&cell, now));
            let (one, two) = bench.beside(admit, admit);
            let passes: Vec<_> = [one, two, third.join().unwrap()].into_iter().flatten().collect();
            assert_eq!(passes.len(), usize::from(k));
            assert!(admit(&bench.cell, bench.now).is_none());
            for pass in passes {
                assert_eq!(bench.state(), State::HalfOpen);
                bench.end(pass, Outcome::Good);
            }
            assert_eq!(bench.state(), State::Closed);
        });
    }
}

#[test]
fn a_probe_that_is_given_up_is_lost_to_nobody() {
    loom::model(|| {
        let mut bench = Bench::new(1);
        bench.open();
        let first = admit(&bench.cell, bench.now).unwrap();
        let (other, ()) = bench.beside(admit, |cell, _| cell.release(first));
        let next = admit(&bench.cell, bench.now);
        assert!(other.is_some() != next.is_some(), "exactly one of them");
    });
}

#[test]
fn an_old_answer_decides_nothing() {
    for outcome in [BAD, Outcome::Good] {
        loom::model(move || {
            let mut bench = Bench::new(1);
            let old = [admit(&bench.cell, bench.now), admit(&bench.cell, bench.now)];
            bench.open();
            let probe = admit(&bench.cell, bench.now).unwrap();
            bench.beside(
                move |cell, now| old.map(|pass| cell.finish(pass.unwrap(), outcome, now, now)),
                |cell, now| cell.finish(probe, Outcome::Good, now, now),
            );
            let view = bench.cell.view(bench.now);
            assert_eq!((view.state, view.window.calls), (State::Closed, 0));
        });
    }
}

/// Two probes at once, one good and one bad: the first to end does not matter.
#[test]
fn one_bad_probe_is_enough() {
    loom::model(|| {
        let mut bench = Bench::new(2);
        bench.open();
        let (one, two) = (admit(&bench.cell, bench.now).unwrap(), admit(&bench.cell, bench.now).unwrap());
        bench.beside(
            move |cell, now| cell.finish(one, Outcome::Good, now, now),
            |cell, now| cell.finish(two, BAD, now, now),
        );
        assert_eq!((bench.state(), bench.cell.view(bench.now).changes), (State::Open, 3));
    });
}

#[test]
fn it_opens_once() {
    loom::model(|| {
        let bench = Bench::new(1);
        let fail = |cell: &Cell, now| {
            if let Some(pass) = admit(cell, now) {
                cell.finish(pass, BAD, now, now);
            }
        };
        bench.beside(
            move |cell, now| {
                fail(cell, now);
                fail(cell, now);
            },
            fail,
        );
        let view = bench.cell.view(bench.now);
        assert_eq!((view.state, view.changes, view.tripped.failures), (State::Open, 1, 2));
        assert!(admit(&bench.cell, bench.now).is_none());
    });
}

#[test]
fn good_calls_of_both_threads_are_counted() {
    loom::model(|| {
        let bench = Bench::new(1);
        let good = |cell: &Cell, now| {
            let pass = admit(cell, now).unwrap();
            cell.finish(pass, Outcome::Good, now, now);
        };
        bench.beside(good, good);
        assert_eq!(bench.cell.view(bench.now).window.calls, 2);
    });
}

/// What was seen while it was closed lets nobody in once it has opened.
#[test]
fn who_was_calm_sees_that_it_opened() {
    loom::model(|| {
        let bench = Bench::new(1);
        let calm = bench.cell.calm(bench.now);
        let good = move |cell: &Cell, now| {
            if let Some(pass) = cell.admit_calmly(&calm, now)
                && !cell.finish_at_once(pass)
            {
                cell.finish(pass, Outcome::Good, now, now);
            }
        };
        bench.beside(good, |cell, now| {
            for _ in 0..2 {
                cell.finish(admit(cell, now).unwrap(), BAD, now, now);
            }
        });
        // A good one between the two failures, or none.
        if bench.state() == State::Open {
            assert!(bench.cell.admit_calmly(&calm, bench.now).is_none());
        } else {
            assert_eq!(bench.cell.view(bench.now).window.calls, 3);
        }
    });
}

#[test]
fn who_opens_it_by_hand_has_the_last_word() {
    loom::model(|| {
        let mut bench = Bench::new(1);
        bench.open();
        let probe = admit(&bench.cell, bench.now).unwrap();
        bench.beside(
            move |cell, now| cell.finish(probe, Outcome::Good, now, now),
            |cell, now| {
                cell.set_mode(Mode::ForcedOpen, now);
                assert!(admit(cell, now).is_none());
            },
        );
        assert_eq!(bench.state(), State::Open);
        assert!(admit(&bench.cell, bench.now + Duration::from_secs(3600)).is_none());
    });
}
