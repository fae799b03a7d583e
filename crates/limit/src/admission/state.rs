//! What all services of a layer share, and what it looks like from outside.

use super::{AdmissionConfig, LimitBy, delay::Delay, meter::Meter};
use crate::{
    Adapt, Aimd, Gradient, LimitEvent, Refusal, Window,
    gate::{Gate, Line, Order},
    refuse::NoRoom,
    sync::{Mutex, lock},
};
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;
use towpath_core::{Live, Observe, Tally};

pub(super) struct Core {
    gate: Gate,
    pub(super) meter: Meter,
    config: Live<AdmissionConfig>,
    rule: Mutex<Rule>,
    delay: Mutex<Delay>,
    /// By priority.
    refused: Tally<8>,
}

/// Who says how many.
struct Rule {
    /// The config that was last applied.
    config: AdmissionConfig,
    /// `None`: the config does.
    adapt: Option<Box<dyn Adapt>>,
    /// A user's own, which no config replaces.
    is_own: bool,
    limit: u32,
    /// How long calls took in the last window.
    latency: Duration,
}

impl Core {
    pub(super) fn new(config: Live<AdmissionConfig>) -> Arc<Self> {
        let now = *config.get();
        let (limit, adapt) = start(now.limit());
        let rule = Rule { config: now, adapt, is_own: false, limit, latency: Duration::ZERO };
        let core = Arc::new(Core {
            gate: Gate::new(now.rooms(limit)),
            meter: Meter::new(),
            config,
            rule: Mutex::new(rule),
            delay: Mutex::default(),
            refused: Tally::new(),
        });
        let weak = Arc::downgrade(&core);
        core.config.listen(move || weak.upgrade().map(|core| core.apply()).is_some());
        core
    }

    /// Does what the config says, from here on. What was found out stays, unless the bounds change.
    fn apply(&self) {
        let mut rule = lock(&self.rule);
        let config = *self.config.get();
        if !rule.is_own && config.limit() != rule.config.limit() {
            (rule.limit, rule.adapt) = start(config.limit());
            self.meter.restart();
        }
        rule.config = config;
        self.gate.set_room(config.rooms(rule.limit));
    }

    /// A rule of the user's own.
    pub(super) fn adapt_by(&self, adapt: Box<dyn Adapt>) {
        let mut rule = lock(&self.rule);
        rule.adapt = Some(adapt);
        rule.is_own = true;
    }

    /// A call took so long. At the end of a window the limit changes.
    #[inline]
    pub(super) fn answered(&self, start: Instant, end: Instant, observe: &impl Observe<LimitEvent>) {
        if let Some(window) = self.meter.answered(start, end, || self.limit()) {
            self.adapt(&window, observe);
        }
    }

    #[cold]
    fn adapt(&self, window: &Window, observe: &impl Observe<LimitEvent>) {
        let mut rule = lock(&self.rule);
        rule.latency = window.latency;
        let from = rule.limit;
        let Some(adapt) = &mut rule.adapt else { return };
        let to = adapt.adapt(window).clamp(1, AdmissionConfig::MAX);
        if to != from {
            rule.limit = to;
            self.gate.set_room(rule.config.rooms(to));
            drop(rule);
            observe.observe(&LimitEvent::LimitChanged { from, to });
        }
    }

    /// How a call may wait that finds no room now, and for how long; `None` if it may not.
    pub(super) fn line(&self, now: Instant) -> Option<(Line, Duration)> {
        self.meter.saturate();
        let config = self.config.get();
        if config.queue() == 0 {
            return None;
        }
        let (at, is_empty) = (Duration::from_nanos(self.meter.now(now)), self.gate.waiting() == 0);
        let stands = lock(&self.delay).joined(at, is_empty, config.interval());
        let (order, most) = match stands {
            true => (Order::NewestFirst, config.target()),
            false => (Order::OldestFirst, config.interval()),
        };
        Some((Line { most: config.queue(), order }, most))
    }

    /// Counts a refusal, and says what there is to say about it.
    pub(super) fn refuse(&self, why: Refusal, priority: u8, waited: Duration, now: Instant) -> NoRoom {
        self.refused.add(usize::from(priority), 1);
        lock(&self.delay).refused(Duration::from_nanos(self.meter.now(now)));
        let rule = lock(&self.rule);
        // Long enough to tell whether the queue stands, and for those who are in to be out.
        let retry_after = Some(rule.config.interval().max(rule.latency));
        NoRoom { why, waited, retry_after, limit: rule.limit }
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    fn limit(&self) -> u32 {
        lock(&self.rule).limit
    }
}

fn start(limit: LimitBy) -> (u32, Option<Box<dyn Adapt>>) {
    match limit {
        LimitBy::Fixed(limit) => (limit, None),
        LimitBy::Gradient(config) => (config.initial(), Some(Box::new(Gradient::new(config)))),
        LimitBy::Aimd(config) => (config.initial(), Some(Box::new(Aimd::new(config)))),
    }
}

/// An admission, with what its layer was told to ask, to answer and to report.
pub(super) struct State<I, C, R, O> {
    pub(super) core: Arc<Core>,
    pub(super) info: I,
    pub(super) classify: C,
    pub(super) reject: R,
    pub(super) observe: O,
}

impl<I, C, R, O> AsRef<Gate> for State<I, C, R, O> {
    fn as_ref(&self) -> &Gate {
        &self.core.gate
    }
}

/// An admission, seen from outside: [`AdmissionLayer::handle`](super::AdmissionLayer::handle).
///
/// All that it tells is of one moment, and may have changed when it is read.
#[derive(Clone)]
pub struct AdmissionHandle(pub(super) Arc<Core>);

impl AdmissionHandle {
    /// How many calls may be in flight.
    pub fn limit(&self) -> u32 {
        self.0.limit()
    }

    /// How many are.
    pub fn in_flight(&self) -> u32 {
        self.0.gate.in_flight()
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.0.gate.waiting()
    }

    /// How many of each priority were refused since the layer was made.
    pub fn refused(&self) -> [u64; 8] {
        std::array::from_fn(|priority| self.0.refused.total(priority))
    }

    /// How long calls took in the last window that was measured; zero before there was one.
    pub fn latency(&self) -> Duration {
        lock(&self.0.rule).latency
    }

    /// The config. To replace it has effect at once: under a raised limit those who wait go on. What an adaptive limit
    /// has found out is kept, unless its bounds change.
    pub fn config(&self) -> &Live<AdmissionConfig> {
        &self.0.config
    }
}

impl fmt::Debug for AdmissionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionHandle")
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.waiting())
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}
