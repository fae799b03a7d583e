//! Closed, open, half-open: a pure machine that is told the time and what happened.
//!
//! ```text
//!            trip                     the open time is over, and a call comes
//!  Closed ──────────▶ Open{until} ──────────────────────────▶ HalfOpen{slots}
//!    ▲                  ▲   a probe failed or has no answer         │    │
//!    │                  └───────────────────────────────────────────┘    │
//!    └───────────────────────────────────────────────────────────────────┘
//!                            all probes succeeded
//! ```
//!
//! Each change of state begins an epoch. What is admitted carries the number of its epoch, and its outcome counts
//! only while that lasts.

use crate::{BreakerConfig, Mode, Reason, State};
use fastrand::Rng;
use std::time::Duration;
use tokio::time::Instant;

pub(crate) struct Machine {
    phase: Phase,
    mode: Mode,
    epoch: u64,
    /// When the epoch began.
    since: Instant,
    /// By how many steps the next open time has grown.
    grown: u32,
    /// The last open time; zero before the first.
    opened_for: Duration,
    /// A change that nobody was told of yet.
    moved: Option<Moved>,
    rng: Rng,
}

enum Phase {
    Closed {
        ramp: Option<Ramp>,
    },
    /// `None`: until somebody says so.
    Open {
        until: Option<Instant>,
    },
    HalfOpen {
        slots: Vec<Slot>,
    },
}

/// Calls are let through when the shares of those that came since the last one make a whole.
struct Ramp {
    until: Instant,
    saved: f64,
}

/// One probe.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Slot {
    Free,
    Out(Instant),
    Good,
}

/// A call was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) epoch: u64,
    /// It is a probe, and this is its slot.
    pub(crate) slot: Option<u16>,
}

/// A call was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) state: State,
    /// Until when all calls are; `None`: nobody knows.
    pub(crate) until: Option<Instant>,
}

/// What can be said about the next call without asking the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It is let through.
    Free,
    /// The machine decides.
    Ask,
    /// It is turned away; from that time on, the machine decides.
    Shut(Option<Instant>),
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) reason: Reason,
    pub(crate) at: Instant,
    pub(crate) open_for: Option<Duration>,
}

/// The share with which a ramp begins (Envoy's slow start has the same).
const RAMP_FROM: f64 = 0.1;
/// In how many parts of a ramp it is worth asking again.
const RAMP_STEPS: u32 = 20;

impl Machine {
    /// Closed.
    pub(crate) fn new(now: Instant, rng: Rng) -> Self {
        Machine {
            phase: Phase::Closed { ramp: None },
            mode: Mode::Automatic,
            epoch: 0,
            since: now,
            grown: 0,
            opened_for: Duration::ZERO,
            moved: None,
            rng,
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    pub(crate) fn take_moved(&mut self) -> Option<Moved> {
        self.moved.take()
    }

    pub(crate) fn gate(&self, config: &BreakerConfig) -> Gate {
        match &self.phase {
            Phase::Closed { ramp: None } => Gate::Free,
            Phase::Closed { ramp: Some(_) } => Gate::Ask,
            Phase::Open { until } => Gate::Shut(*until),
            Phase::HalfOpen { slots } if slots.contains(&Slot::Free) => Gate::Ask,
            Phase::HalfOpen { slots } => Gate::Shut(unanswered_at(slots, config)),
        }
    }

    /// A call came.
    pub(crate) fn admit(&mut self, config: &BreakerConfig, now: Instant) -> Result<Admitted, Refusal> {
        match &self.phase {
            // Open -> HalfOpen, when the open time is over
            Phase::Open { until: Some(until) } if *until <= now => {
                let slots = vec![Slot::Free; usize::from(config.probes)];
                self.begin(Phase::HalfOpen { slots }, Reason::ProbeTime, now);
            }
            // HalfOpen -> Open, when a probe has no answer in time
            Phase::HalfOpen { slots } if unanswered_at(slots, config).is_some_and(|at| at <= now) => {
                self.grown = self.grown.saturating_add(1);
                self.open(config, Reason::ProbeUnanswered, now);
            }
            _ => {}
        }
        let epoch = self.epoch;
        match &mut self.phase {
            Phase::Closed { ramp } => {
                if ramp.as_mut().is_none_or(|ramp| ramp.admits(config, now)) {
                    if ramp.as_ref().is_some_and(|ramp| ramp.until <= now) {
                        *ramp = None;
                    }
                    return Ok(Admitted { epoch, slot: None });
                }
                Err(Refusal { state: State::Closed, until: Some(now + config.ramp / RAMP_STEPS) })
            }
            Phase::Open { until } => Err(Refusal { state: State::Open, until: *until }),
            Phase::HalfOpen { slots } => match slots.iter().position(|slot| *slot == Slot::Free) {
                Some(free) => {
                    slots[free] = Slot::Out(now);
                    // There are at most 1000.
                    Ok(Admitted { epoch, slot: Some(free as u16) })
                }
                None => Err(Refusal { state: State::HalfOpen, until: unanswered_at(slots, config) }),
            },
        }
    }

    /// A closed breaker has seen enough: it opens, unless it was closed by hand.
    pub(crate) fn trip(&mut self, config: &BreakerConfig, reason: Reason, now: Instant) -> bool {
        if !matches!(self.phase, Phase::Closed { .. }) || self.mode != Mode::Automatic {
            return false;
        }
        // Closed for as long as it had been open is a healthy stretch: what was before is forgotten.
        let healthy = now.saturating_duration_since(self.since) >= self.opened_for;
        self.grown = if healthy { 0 } else { self.grown.saturating_add(1) };
        self.open(config, reason, now);
        true
    }

    /// A probe of this epoch was answered: well, or not.
    pub(crate) fn probed(&mut self, config: &BreakerConfig, slot: u16, good: bool, now: Instant) {
        let Phase::HalfOpen { slots } = &mut self.phase else { return };
        let Some(slot) = slots.get_mut(usize::from(slot)) else { return };
        // HalfOpen -> Open, when one fails
        if !good {
            self.grown = self.grown.saturating_add(1);
            return self.open(config, Reason::ProbeFailed, now);
        }
        *slot = Slot::Good;
        // HalfOpen -> Closed, when all are good
        if slots.iter().all(|slot| *slot == Slot::Good) {
            self.close(config, Reason::Recovered, now);
        }
    }

    /// A probe of this epoch ended without saying anything: another one may take its place.
    pub(crate) fn release(&mut self, slot: u16) {
        let Phase::HalfOpen { slots } = &mut self.phase else { return };
        if let Some(slot) = slots.get_mut(usize::from(slot)) {
            *slot = Slot::Free;
        }
    }

    /// Somebody decides in place of the calls, or no longer.
    pub(crate) fn set_mode(&mut self, config: &BreakerConfig, mode: Mode, now: Instant) {
        let before = std::mem::replace(&mut self.mode, mode);
        match mode {
            Mode::ForcedOpen if before != mode => {
                self.begin(Phase::Open { until: None }, Reason::Forced, now);
            }
            Mode::ForcedClosed if self.state() != State::Closed => {
                self.close(config, Reason::Forced, now);
            }
            // The next call is a probe.
            Mode::Automatic if before == Mode::ForcedOpen => {
                self.begin(Phase::Open { until: Some(now) }, Reason::Forced, now);
            }
            _ if before != mode => {
                if let Phase::Closed { ramp } = &mut self.phase {
                    *ramp = None;
                }
                let state = self.state();
                self.moved =
                    Some(Moved { from: state, to: state, reason: Reason::Forced, at: now, open_for: None });
            }
            _ => {}
        }
    }

    fn open(&mut self, config: &BreakerConfig, reason: Reason, now: Instant) {
        let most = config.open_max.as_secs_f64();
        let steps = i32::try_from(self.grown).unwrap_or(i32::MAX);
        let whole = (config.open.as_secs_f64() * config.open_factor.powi(steps)).min(most);
        let time = Duration::from_secs_f64(whole * (1.0 - config.jitter * self.rng.f64()));
        self.opened_for = time;
        self.begin(Phase::Open { until: Some(now + time) }, reason, now);
    }

    fn close(&mut self, config: &BreakerConfig, reason: Reason, now: Instant) {
        let ramps = !config.ramp.is_zero() && self.mode == Mode::Automatic;
        // The first call is let through.
        let ramp = ramps.then(|| Ramp { until: now + config.ramp, saved: 1.0 - RAMP_FROM });
        self.begin(Phase::Closed { ramp }, reason, now);
    }

    fn begin(&mut self, phase: Phase, reason: Reason, now: Instant) {
        let from = self.state();
        self.phase = phase;
        self.epoch += 1;
        self.since = now;
        let open_for = match &self.phase {
            Phase::Open { until: Some(until) } => Some(until.saturating_duration_since(now)),
            _ => None,
        };
        self.moved = Some(Moved { from, to: self.state(), reason, at: now, open_for });
    }
}

impl Ramp {
    fn admits(&mut self, config: &BreakerConfig, now: Instant) -> bool {
        let left = self.until.saturating_duration_since(now).as_secs_f64();
        let done = 1.0 - left / config.ramp.as_secs_f64().max(f64::MIN_POSITIVE);
        self.saved += done.clamp(RAMP_FROM, 1.0);
        // A tenth ten times is a little less than one.
        let admits = self.saved > 1.0 - 1e-9;
        if admits {
            self.saved -= 1.0;
        }
        admits
    }
}

/// When the first of the probes that are out will have failed.
fn unanswered_at(slots: &[Slot], config: &BreakerConfig) -> Option<Instant> {
    let out = slots.iter().filter_map(|slot| match slot {
        Slot::Out(since) => Some(*since + config.probe_timeout),
        _ => None,
    });
    out.min()
}
