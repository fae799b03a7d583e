//! A breaker beside a plain model of one, through random sequences: the model keeps all that ever happened in
//! lists, and looks through them.

// Helpers of tests are not #[test] themselves.
#![allow(clippy::unwrap_used)]

use crate::{
    BreakerConfig, BreakerOptions, State, Window,
    cell::{Calm, Cell, Outcome, Pass},
    settings::Settings,
};
use fastrand::Rng;
use proptest::prelude::*;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use towpath_core::{Clock, Live};

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Start,
    End(usize, Outcome),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Good),
        4 => Just(Outcome::Bad { soft: false }),
        1 => Just(Outcome::Bad { soft: true }),
        1 => Just(Outcome::Nothing),
    ];
    prop_oneof![
        2 => (0u64..40).prop_map(Step::Wait),
        1 => (0u64..3_000).prop_map(Step::Wait),
        5 => Just(Step::Start),
        5 => (0usize..8, outcome).prop_map(|(call, outcome)| Step::End(call, outcome)),
        1 => (0usize..8).prop_map(Step::Drop),
    ]
}

fn config() -> impl Strategy<Value = BreakerConfig> {
    let window = prop_oneof![
        (100u64..2_000).prop_map(|ms| Window::Time(Duration::from_millis(ms))),
        (6u32..30).prop_map(Window::Calls),
    ];
    let when = (window, 1u32..6, 1u32..5, proptest::option::of(2u32..5), proptest::option::of(1u64..200));
    (when, 1u16..4, 1u64..500, 1u64..500).prop_map(
        |((window, min_calls, rate, row, slow), probes, open, timeout)| {
            BreakerConfig::try_new(BreakerOptions {
                window,
                min_calls,
                failure_rate: Some(f64::from(rate) / 4.0),
                consecutive_failures: row,
                slow: slow.map(Duration::from_millis),
                slow_rate: 0.5,
                open: Duration::from_millis(open),
                open_factor: 2.0,
                open_max: Duration::from_millis(4 * open),
                jitter: 0.0,
                probes,
                probe_timeout: Duration::from_millis(timeout),
                ramp: Duration::ZERO,
            })
            .unwrap()
        },
    )
}

/// Milliseconds from the start.
type Ms = u64;

struct Call {
    pass: Pass,
    start: Ms,
    epoch: usize,
    probe: bool,
}

enum Phase {
    Closed,
    Open {
        until: Ms,
    },
    /// When the probes that are out began, by the number of their call; and how many were good.
    HalfOpen {
        out: Vec<(usize, Ms)>,
        good: usize,
    },
}

struct Model {
    config: BreakerConfig,
    phase: Phase,
    epoch: usize,
    since: Ms,
    /// Since it was closed: when, failed, soft, slow.
    ended: Vec<(Ms, bool, bool, bool)>,
    open_times: Vec<Ms>,
}

impl Model {
    fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn begin(&mut self, phase: Phase, now: Ms) {
        (self.phase, self.since) = (phase, now);
        self.epoch += 1;
        if let Phase::Closed = self.phase {
            self.ended.clear();
        }
    }

    fn open(&mut self, now: Ms) {
        let (base, most) = (self.config.open.as_millis() as u64, self.config.open_max.as_millis() as u64);
        let last = self.open_times.last().copied();
        let healthy = self.state() == State::Closed && now - self.since >= last.unwrap_or(0);
        let time = match last {
            Some(last) if !healthy => (2 * last).min(most),
            _ => base,
        };
        self.open_times.push(time);
        self.begin(Phase::Open { until: now + time }, now);
    }

    fn start(&mut self, call: usize, now: Ms) -> Option<bool> {
        let timeout = self.config.probe_timeout.as_millis() as u64;
        match &self.phase {
            Phase::Open { until } if now >= *until => {
                self.begin(Phase::HalfOpen { out: Vec::new(), good: 0 }, now);
            }
            Phase::HalfOpen { out, .. } if out.iter().any(|(_, since)| since + timeout <= now) => {
                self.open(now)
            }
            _ => {}
        }
        match &mut self.phase {
            Phase::Closed => Some(false),
            Phase::Open { .. } => None,
            Phase::HalfOpen { out, good } => {
                (out.len() + *good < usize::from(self.config.probes)).then(|| out.push((call, now)))?;
                Some(true)
            }
        }
    }

    fn window(&self, now: Ms) -> Vec<(Ms, bool, bool, bool)> {
        match self.config.window {
            Window::Calls(n) => self.ended.iter().rev().take(n as usize).copied().collect(),
            Window::Time(time) => {
                // In nanoseconds: a tenth of the window need not be whole milliseconds.
                let bucket = |at: Ms| (at - self.since) * 1_000_000 / (time.as_nanos() as u64 / 10);
                self.ended.iter().filter(|(at, ..)| bucket(*at) + 9 >= bucket(now)).copied().collect()
            }
        }
    }

    fn end(&mut self, number: usize, call: &Call, outcome: Outcome, now: Ms) {
        if call.epoch != self.epoch {
            return;
        }
        let slow = self.config.slow.is_some_and(|slow| now - call.start >= slow.as_millis() as u64);
        let (failed, soft) = match outcome {
            Outcome::Good => (false, false),
            Outcome::Bad { soft } => (true, soft),
            Outcome::Nothing => {
                if let Phase::HalfOpen { out, .. } = &mut self.phase {
                    out.retain(|(other, _)| *other != number);
                }
                return;
            }
        };
        if let Phase::HalfOpen { out, good } = &mut self.phase {
            out.retain(|(other, _)| *other != number);
            *good += 1;
            let all = *good == usize::from(self.config.probes);
            match failed || slow {
                true => self.open(now),
                false if all => self.begin(Phase::Closed, now),
                false => {}
            }
            return;
        }
        self.ended.push((now, failed, soft, slow));
        let window = self.window(now);
        let row =
            self.ended.iter().rev().filter(|(_, _, soft, _)| !soft).take_while(|(_, failed, ..)| *failed);
        let count = |of: fn(&&(Ms, bool, bool, bool)) -> bool| window.iter().filter(of).count() as f64;
        let calls = window.len() as f64;
        let enough = window.len() >= self.config.min_calls as usize;
        let by_row =
            failed && !soft && self.config.consecutive_failures.is_some_and(|n| row.count() >= n as usize);
        let by_rate = failed && enough && count(|call| call.1) / calls >= self.config.failure_rate.unwrap();
        let by_slow = (failed || slow) && enough && count(|call| call.3) / calls >= 0.5;
        if by_row || by_rate || by_slow {
            self.open(now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn as_the_model_says(config in config(), steps in proptest::collection::vec(step(), 0..150)) {
        let base = Clock::now();
        let at = |now: Ms| -> Instant { base + Duration::from_millis(now) };
        let settings = Settings { config: Live::new(config.clone()), trip: None, observe: None };
        let cell = Cell::new("".into(), None, Arc::new(settings), base, Rng::with_seed(1));
        let mut model = Model {
            config, phase: Phase::Closed, epoch: 0, since: 0, ended: Vec::new(), open_times: Vec::new(),
        };
        let (mut now, mut started, mut calls) = (0, 0, Vec::<(usize, Call)>::new());
        let mut calm = Calm::NEVER;
        for step in steps {
            match step {
                Step::Wait(time) => now += time,
                Step::Start => {
                    // As a service does: what it has seen of the breaker may do.
                    let pass = cell.admit_calmly(&calm, at(now)).or_else(|| {
                        let pass = cell.admit(at(now)).ok();
                        calm = cell.calm(at(now));
                        pass
                    });
                    let expected = model.start(started, now);
                    prop_assert_eq!(pass.map(|pass| pass.slot.is_some()), expected);
                    if let (Some(pass), Some(probe)) = (pass, expected) {
                        calls.push((started, Call { pass, start: now, epoch: model.epoch, probe }));
                        started += 1;
                    }
                }
                Step::End(call, outcome) if !calls.is_empty() => {
                    let (number, call) = calls.remove(call % calls.len());
                    let at_once = outcome == Outcome::Good && now == call.start;
                    if !at_once || !cell.finish_at_once(call.pass) {
                        cell.finish(call.pass, outcome, at(call.start), at(now));
                    }
                    model.end(number, &call, outcome, now);
                }
                Step::Drop(call) if !calls.is_empty() => {
                    let (number, call) = calls.remove(call % calls.len());
                    if call.probe {
                        cell.release(call.pass);
                        model.end(number, &call, Outcome::Nothing, now);
                    }
                }
                _ => {}
            }
            let view = cell.view(at(now));
            prop_assert_eq!(view.state, model.state());
            if view.state == State::Closed {
                let window = model.window(now);
                let count = |of: fn(&&(Ms, bool, bool, bool)) -> bool| window.iter().filter(of).count() as u64;
                let counts = view.window;
                prop_assert_eq!((counts.calls, counts.failures), (window.len() as u64, count(|call| call.1)));
                prop_assert_eq!((counts.soft, counts.slow), (count(|call| call.2), count(|call| call.3)));
            }
        }
    }
}
