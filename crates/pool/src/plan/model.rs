//! The plan, whatever happens to it; and some courses by name.

use super::*;
use crate::PoolOptions;
use fastrand::Rng;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Pass(u64),
    /// A connect that is under way ends, well or not.
    Connect(bool),
    /// One ends by itself.
    Lose(usize, Ending),
    /// The one that its keeper has turned out to be of no more use.
    Spent(usize),
    /// One is used, or not any more.
    Use(usize, bool),
    /// So many wait.
    Wait(u32),
    /// Somebody found no room.
    Grow,
    /// Calls do not come as a rule, or do.
    Spare(bool),
    /// Another config.
    Config(u32, u32),
}

fn step() -> impl Strategy<Value = Step> {
    let ending = prop_oneof![
        3 => Just(Ending::Broken),
        2 => Just(Ending::GoingAway),
        1 => Just(Ending::Unused),
        1 => Just(Ending::Spent),
    ];
    prop_oneof![
        6 => (0u64..4_000).prop_map(Step::Pass),
        1 => (0u64..100_000).prop_map(Step::Pass),
        8 => prop::bool::weighted(0.8).prop_map(Step::Connect),
        2 => (any::<usize>(), ending).prop_map(|(at, how)| Step::Lose(at, how)),
        1 => any::<usize>().prop_map(Step::Spent),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(at, used)| Step::Use(at, used)),
        3 => (0u32..6).prop_map(Step::Wait),
        2 => Just(Step::Grow),
        1 => any::<bool>().prop_map(Step::Spare),
        1 => (0u32..4, 1u32..8).prop_map(|(min, more)| Step::Config(min, min + more)),
    ]
}

/// A keeper without a network, and what it knows by itself.
struct World {
    plan: Plan,
    config: PoolConfig,
    now: Instant,
    rng: Rng,
    next: u64,
    /// Each that is open, with whether it is used.
    open: BTreeMap<u64, bool>,
    connecting: u32,
    waiting: u32,
    grow: bool,
    spare: bool,
    due: Option<Instant>,
    begun: Vec<Instant>,
    /// How many may have been above the maximum before the config changed.
    slack: u32,
}

impl World {
    fn new(config: PoolConfig, sleeps: bool, seed: u64) -> Self {
        World {
            plan: Plan::new(sleeps),
            config,
            now: Instant::now(),
            rng: Rng::with_seed(seed),
            next: 1,
            open: BTreeMap::new(),
            connecting: 0,
            waiting: 0,
            grow: false,
            spare: false,
            due: None,
            begun: Vec::new(),
            slack: 0,
        }
    }

    fn pick(&self, at: usize) -> Option<u64> {
        self.open.keys().nth(at % self.open.len().max(1)).copied()
    }

    fn look(&mut self) -> Orders {
        let unused = self.open.iter().filter(|(_, used)| !**used).map(|(id, _)| (*id, None)).collect();
        let (more, grow) = (self.waiting, std::mem::take(&mut self.grow));
        let demand = Demand { more, grow, spare: self.spare, unused };
        let before = self.open.len();
        let orders = self.plan.look(&self.config, &demand, self.now);
        for (id, ..) in &orders.retire {
            assert!(self.open.remove(id).is_some(), "only what is there can be retired");
        }
        for id in &orders.ask {
            assert_eq!(self.open.get(id), Some(&false), "only what is there and not used is asked");
        }
        self.connecting += orders.open;
        (0..orders.open).for_each(|_| self.begun.push(self.now));
        assert_eq!((self.plan.open() as usize, self.plan.connecting()), (self.open.len(), self.connecting));
        assert!(before >= self.open.len());
        self.due = orders.due;
        orders
    }

    fn connect(&mut self, well: bool) {
        if self.connecting == 0 {
            return;
        }
        self.connecting -= 1;
        if well {
            self.plan.connected(&self.config, self.next, self.now, &mut self.rng);
            self.open.insert(self.next, false);
            self.next += 1;
        } else {
            let next = self.plan.failed(&self.config, self.now, &mut self.rng);
            assert!(next <= self.now + self.config.reconnect.max());
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Pass(time) => {
                // As a keeper does: it looks when that is due.
                let until = self.now + ms(time);
                while let Some(due) = self.due.filter(|due| *due <= until) {
                    assert!(due > self.now, "a look that is due at once would be one of many");
                    self.now = due;
                    self.look();
                }
                self.now = until;
            }
            Step::Connect(well) => self.connect(well),
            Step::Lose(at, how) => {
                if let Some(id) = self.pick(at) {
                    self.open.remove(&id);
                    self.plan.lost(&self.config, id, how, self.now, &mut self.rng);
                }
            }
            Step::Spent(at) => {
                if let Some(id) = self.pick(at) {
                    self.open.remove(&id);
                    self.plan.gone(id);
                }
            }
            Step::Use(at, used) => {
                if let Some(id) = self.pick(at) {
                    self.open.insert(id, used);
                }
            }
            Step::Wait(waiting) => self.waiting = waiting,
            Step::Grow => self.grow = true,
            Step::Spare(spare) => self.spare = spare,
            Step::Config(min, max) => {
                let options = PoolOptions { min, max, ..self.config.options() };
                self.config = PoolConfig::try_new(options).unwrap();
                // What was begun under the one before may still come.
                self.slack = self.open.len() as u32 + self.connecting;
            }
        }
    }

    fn check(&mut self) {
        let grow = self.grow;
        let orders = self.look();
        let most = self.open.len() as u32 + self.connecting;
        assert!(most <= (self.config.max + 1).max(self.slack), "{most} of {}", self.config.max);
        // What is due now was done; but for what nobody wants any more now that one which was used is retired.
        let (mut before, mut looks) = (orders, 0);
        loop {
            self.grow = grow && before.open == 0;
            let again = self.look();
            let nothing = again.open == 0 && again.retire.is_empty() && again.ask.is_empty();
            assert!(nothing || !before.retire.is_empty(), "{before:?} {again:?}");
            if nothing {
                break;
            }
            (before, looks) = (again, looks + 1);
            assert!(looks < 20, "{before:?}");
        }
        let used = self.open.values().filter(|used| **used).count() as u32;
        let wanted = (used + self.waiting).min(self.config.max);
        let there = self.open.len() as u32 + self.connecting;
        if there < wanted {
            let until = self.plan.not_before();
            assert!(until.is_some() && self.due <= until || self.connecting > 0, "{wanted} are wanted");
        }
        assert!(self.open.len() as u32 >= wanted.min(used), "none is taken away from callers");
    }
}

fn options() -> impl Strategy<Value = PoolConfig> {
    let time = || prop_oneof![Just(None), (100u64..20_000).prop_map(|time| Some(ms(time)))];
    (0u32..4, 1u32..8, time(), time(), time()).prop_map(|(min, more, idle, age, keep)| {
        PoolConfig::try_new(PoolOptions {
            min,
            max: min + more,
            idle_timeout: idle,
            max_age: age,
            keep_alive: keep,
            ..PoolOptions::default()
        })
        .unwrap()
    })
}

proptest! {
    /// Never too many, never fewer than wanted without a reason, nothing ordered twice, no look that is due at once.
    #[test]
    fn whatever_happens(
        config in options(),
        sleeps: bool,
        seed: u64,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(config, sleeps, seed);
        world.check();
        for step in steps {
            world.step(step);
            world.check();
        }
    }

    /// When things go well again, there are as many as are wanted before long, and those that nobody wants go.
    #[test]
    fn in_the_end_all_is_as_it_should_be(
        config in options(),
        seed: u64,
        steps in prop::collection::vec(step(), 1..80),
        wanted in 0u32..10,
    ) {
        let mut world = World::new(config, false, seed);
        world.look();
        steps.into_iter().for_each(|step| {
            world.step(step);
            world.check();
        });
        let options = PoolOptions { max_age: None, ..world.config.options() };
        let mut config = PoolConfig::try_new(options).unwrap();
        // Those of an age that have one: they are replaced by such as have none.
        for _ in 0..400 {
            std::mem::swap(&mut world.config, &mut config);
            config = world.config.clone();
            world.step(Step::Pass(100));
            while world.connecting > 0 {
                world.connect(true);
            }
            let ids: Vec<_> = world.open.keys().copied().collect();
            ids.iter().enumerate().for_each(|(n, id)| {
                world.open.insert(*id, (n as u32) < wanted.min(world.config.max));
            });
            let used = world.open.values().filter(|used| **used).count() as u32;
            world.waiting = wanted.min(world.config.max).saturating_sub(used);
            world.check();
        }
        let expected = wanted.min(world.config.max).max(if world.spare { 0 } else { world.config.min });
        let there = world.open.len() as u32;
        prop_assert!(there >= expected, "{there} of {expected}");
        if world.config.idle_timeout.is_some() {
            prop_assert_eq!(there, expected);
        } else {
            prop_assert!(there <= world.config.max);
        }
        prop_assert!(world.plan.not_before().is_none());
    }

    /// To a peer that never answers, connects come one at a time and no faster than the backoff has it.
    #[test]
    fn a_dead_peer_is_not_hammered(min in 1u32..8, waiting in 0u32..100, seed: u64) {
        let options = PoolOptions { min, max: 8, ..PoolOptions::default() };
        let mut world = World::new(PoolConfig::try_new(options).unwrap(), false, seed);
        world.waiting = waiting;
        let first = world.look().open;
        prop_assert!(first >= 1);
        let start = world.now;
        while world.now < start + ms(200_000) {
            while world.connecting > 0 {
                world.connect(false);
            }
            world.look();
            if let Some(due) = world.due {
                world.now = due.max(world.now);
            }
            world.look();
            prop_assert!(world.connecting <= 1);
        }
        // The mean wait is half of 5 s in the end.
        let tries = world.begun.len() as u32 - first;
        prop_assert!((50..=150).contains(&tries), "{tries} in 200 s");
    }
}

fn config(change: impl FnOnce(&mut PoolOptions)) -> PoolConfig {
    let mut options = PoolOptions::default();
    change(&mut options);
    PoolConfig::try_new(options).unwrap()
}

fn world(change: impl FnOnce(&mut PoolOptions)) -> World {
    World::new(config(change), true, 7)
}

#[test]
fn a_new_one_is_there_before_an_old_one_is_retired() {
    let mut world = world(|o| (o.max, o.max_age) = (1, Some(ms(10_000))));
    assert_eq!(world.look().open, 1);
    world.connect(true);
    world.open.insert(1, true);
    world.look();
    world.step(Step::Pass(10_000));
    assert_eq!((world.connecting, world.open.len()), (1, 1), "while one is replaced there is one more");
    world.connect(true);
    assert_eq!(world.look().retire.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), [1]);
    assert_eq!(world.look().open, 0);
}

#[test]
fn growth_is_one_at_a_time_and_what_is_idle_goes_in_time() {
    let mut world = world(|o| o.idle_timeout = Some(ms(1_000)));
    world.look();
    world.connect(true);
    world.grow = true;
    assert_eq!(world.look().open, 1);
    assert!(!world.look().can_grow || world.connecting > 0);
    world.connect(true);
    world.open.insert(1, true);
    world.look();
    world.step(Step::Pass(5_000));
    assert_eq!(world.open.keys().copied().collect::<Vec<_>>(), [1], "the second was idle for a second");
    assert_eq!(world.look(), Orders { can_grow: true, ..world.look() });
}

#[test]
fn asleep_until_somebody_calls() {
    let mut world = world(|o| o.min = 2);
    world.look();
    world.connect(true);
    world.connect(true);
    world.look();
    world.step(Step::Lose(0, Ending::Unused));
    world.step(Step::Lose(0, Ending::Unused));
    let orders = world.look();
    assert!(orders.is_idle && orders.open == 0 && orders.due.is_none(), "{orders:?}");
    world.waiting = 1;
    assert_eq!(world.look().open, 2);
}

#[test]
fn who_must_not_sleep_connects_again_after_a_while() {
    let mut world = World::new(config(|_| ()), false, 7);
    world.look();
    world.connect(true);
    world.look();
    world.step(Step::Lose(0, Ending::Unused));
    assert_eq!(world.look().open, 0);
    world.step(Step::Pass(2_000));
    assert_eq!(world.connecting, 1);
}

#[test]
fn one_that_has_answered_its_calls_is_replaced_at_once() {
    let mut world = World::new(config(|_| ()), false, 7);
    world.look();
    for _ in 0..50 {
        world.connect(true);
        world.look();
        world.step(Step::Lose(0, Ending::Spent));
        assert_eq!(world.look().open, 1);
    }
}
