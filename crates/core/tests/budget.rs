//! The retry budget: exact counts, against a model that is as simple as can be.

use proptest::prelude::*;
use std::{collections::VecDeque, thread, time::Duration};
use tokio::time::Instant;
use towpath_core::{Budget, BudgetConfig};

fn at(base: Instant, ms: u64) -> Instant {
    base + Duration::from_millis(ms)
}

/// Every deposit by itself, with the second in which it was made; the oldest is taken first.
struct Model {
    share: u64,
    per_second: u64,
    deposits: VecDeque<(u64, u64)>,
    reserve: (u64, u64),
}

impl Model {
    fn deposit(&mut self, second: u64) {
        self.deposits.push_back((second, self.share));
    }

    fn withdraw(&mut self, second: u64) -> bool {
        if self.reserve.0 != second {
            self.reserve = (second, 0);
        }
        if self.reserve.1 < self.per_second {
            self.reserve.1 += 1;
            return true;
        }
        self.deposits.retain(|(made, _)| made + 10 > second);
        if self.deposits.iter().map(|(_, units)| units).sum::<u64>() < 1_000 {
            return false;
        }
        let mut wanted = 1_000;
        while wanted > 0 {
            let Some((_, units)) = self.deposits.front_mut() else { unreachable!("there is enough") };
            let taken = wanted.min(*units);
            (wanted, *units) = (wanted - taken, *units - taken);
            if *units == 0 {
                self.deposits.pop_front();
            }
        }
        true
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(u64),
    Deposit,
    Withdraw,
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(
        share in 1u64..=2_000,
        per_second in 0u32..4,
        steps in proptest::collection::vec(
            prop_oneof![
                2 => (0u64..1_500).prop_map(Step::Pass),
                1 => (0u64..25_000).prop_map(Step::Pass),
                12 => Just(Step::Deposit),
                12 => Just(Step::Withdraw),
            ],
            0..400,
        ),
    ) {
        let config = BudgetConfig::try_new(share as f64 / 1_000.0, per_second).unwrap();
        let budget = Budget::new(config);
        let mut model =
            Model { share, per_second: per_second.into(), deposits: VecDeque::new(), reserve: (0, 0) };
        let (base, mut ms) = (Instant::now(), 0);
        prop_assert_eq!(budget.balance(base), u64::from(per_second));
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Pass(more) => ms += more,
                Step::Deposit => {
                    budget.deposit(at(base, ms));
                    model.deposit(ms / 1_000);
                }
                Step::Withdraw => {
                    let there = budget.balance(at(base, ms)) > 0;
                    let taken = budget.withdraw(at(base, ms));
                    prop_assert_eq!(taken, model.withdraw(ms / 1_000), "step {}, at {} ms", n, ms);
                    prop_assert_eq!(taken, there);
                }
            }
        }
    }
}

/// All calls fail and want to be retried at once, for ten seconds.
#[test]
fn exact_at_any_rate() {
    for rate in [100u64, 1_000, 100_000] {
        let budget = Budget::default();
        let base = Instant::now();
        let mut retries = 0;
        for call in 0..rate * 10 {
            let now = base + Duration::from_nanos(call * 1_000_000_000 / rate);
            budget.deposit(now);
            retries += u64::from(budget.withdraw(now));
        }
        assert_eq!(retries, rate * 10 / 5 + 10 * 10, "{rate} a second");
    }
}

#[test]
fn when_idle_the_reserve_is_all_there_is_and_does_not_add_up() {
    let budget = Budget::default();
    let base = Instant::now();
    let drain = |ms| (0..1_000).filter(|_| budget.withdraw(at(base, ms))).count();
    assert_eq!(drain(0), 10);
    assert_eq!(drain(999), 0);
    assert_eq!(drain(1_000), 10);
    assert_eq!(drain(3_600_000), 10);
    // A clock that was read before another thread's.
    assert_eq!(drain(2_000), 0);
}

#[test]
fn what_was_paid_in_lapses_after_its_window() {
    let config = BudgetConfig::try_new(1.0, 0).unwrap();
    for (age_s, left) in [(9, 5), (10, 0), (11, 0), (25, 0)] {
        let budget = Budget::new(config);
        let base = Instant::now();
        assert_eq!(budget.balance(base), 0);
        for _ in 0..5 {
            budget.deposit(at(base, 900));
        }
        assert_eq!(budget.balance(at(base, age_s * 1_000)), left, "after {age_s} s");
    }
    // What was taken out was the oldest: it does not lapse again.
    let budget = Budget::new(config);
    let base = Instant::now();
    (0..5).for_each(|_| budget.deposit(base));
    (0..5).for_each(|_| budget.deposit(at(base, 5_000)));
    assert!((0..5).all(|_| budget.withdraw(at(base, 6_000))));
    assert_eq!(budget.balance(at(base, 10_000)), 5);
    assert_eq!(budget.balance(at(base, 15_000)), 0);
}

#[test]
fn clones_on_threads_take_exactly_what_is_there() {
    const THREADS: u64 = 8;
    const CALLS: u64 = 20_000;
    let budget = Budget::default();
    let base = Instant::now();
    let run = |f: fn(&Budget, Instant) -> bool| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let budget = budget.clone();
                thread::spawn(move || (0..CALLS).filter(|_| f(&budget, base)).count() as u64)
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
    };
    let calls = run(|budget, now| {
        budget.deposit(now);
        true
    });
    assert_eq!(run(|budget, now| budget.withdraw(now)), calls / 5 + 10);
    assert_eq!(budget.balance(base), 0);
}

/// Seconds end while everybody pays in and takes out: still nothing is taken that was not there.
#[test]
fn never_more_than_was_paid_in() {
    let config = BudgetConfig::try_new(0.2, 0).unwrap();
    for _ in 0..5 {
        let budget = Budget::new(config);
        let base = Instant::now();
        let threads: Vec<_> = (0..4u64)
            .map(|n| {
                let budget = budget.clone();
                thread::spawn(move || {
                    let mut taken = 0;
                    for call in 0..10_000u64 {
                        let now = at(base, call * (2 + n));
                        budget.deposit(now);
                        taken += u64::from(budget.withdraw(now)) + u64::from(budget.withdraw(now));
                    }
                    taken
                })
            })
            .collect();
        let taken: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(taken <= 40_000 / 5, "{taken}");
    }
}

proptest! {
    #[test]
    fn to_keep_the_second_in_mind_changes_nothing(
        steps in prop::collection::vec((0u64..1_500, 0u8..4), 1..200),
    ) {
        let config = BudgetConfig::try_new(0.3, 2).unwrap();
        let (plain, kept) = (Budget::new(config), Budget::new(config));
        let (mut first, mut second) = (kept.deposits(), kept.deposits());
        let mut now = Instant::now();
        for (passes, step) in steps {
            now += Duration::from_millis(passes);
            match step {
                0 => prop_assert_eq!(plain.withdraw(now), kept.withdraw(now)),
                1 => prop_assert_eq!(plain.balance(now), kept.balance(now)),
                step => {
                    plain.deposit(now);
                    if step == 2 { first.deposit(now) } else { second.deposit(now) }
                }
            }
        }
        prop_assert_eq!(plain.balance(now), kept.balance(now));
    }
}

#[test]
fn another_size_holds_from_then_on() {
    let budget = Budget::new(BudgetConfig::try_new(0.5, 1).unwrap());
    let now = Instant::now();
    let balance = || budget.clone().balance(now);
    (0..4).for_each(|_| budget.deposit(now));
    assert_eq!(balance(), 1 + 2);
    let larger = BudgetConfig::try_new(2.0, 3).unwrap();
    budget.resize(larger);
    assert_eq!((budget.config(), balance()), (larger, 3 + 2));
    budget.deposit(now);
    assert_eq!(balance(), 3 + 2 + 2);
    assert!((0..3).all(|_| budget.withdraw(now)));
    budget.resize(BudgetConfig::try_new(0.0, 1).unwrap());
    budget.deposit(now);
    assert_eq!(balance(), 4, "what was taken of the reserve is more than there is now");
    for share in [0.0, 0.001, 0.2, 0.333, 7.7, 10.0] {
        let config = BudgetConfig::try_new(share, 1_000_000).unwrap();
        budget.resize(config);
        assert_eq!(budget.config(), config);
    }
}
