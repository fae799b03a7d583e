//! What a picker sees.

use crate::gauge::{Arena, Gauge, Key, RAMPING, WELL, pace};
use std::{fmt, sync::Arc, time::Duration};
use towpath_core::{Context, Endpoint, EndpointId, Method};

/// What a picker sees of the endpoints, and of the call that is to go to one of them.
///
/// Endpoints are numbered from 0 to [`len`](Self::len). What is asked for is read at that moment; each question is a few
/// loads. An index that there is not is never ready.
#[derive(Clone, Copy)]
pub struct View<'a> {
    base: &'a Base<'a>,
    /// The part that is seen; `None`: all.
    part: Option<Part<'a>>,
}

#[derive(Clone, Copy)]
struct Part<'a> {
    indices: &'a [u32],
    of: Option<&'a Part<'a>>,
}

/// All that a view may be asked for.
pub(crate) struct Base<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) keys: &'a [Key],
    pub(crate) endpoints: &'a [Arc<Endpoint>],
    /// The flag of those that the call may go to: most often that they take calls.
    pub(crate) takes: u32,
    pub(crate) tuning: &'a Tuning,
    /// Nanoseconds that a call takes as a rule.
    pub(crate) usual: f32,
    pub(crate) now: pace::Tick,
    pub(crate) context: Option<&'a Context>,
    pub(crate) method: Option<&'a Method>,
    /// Where earlier attempts went.
    pub(crate) tried: &'a [EndpointId],
    /// Those that this attempt has found not to be ready after all.
    pub(crate) passed: &'a [EndpointId],
}

/// How what is measured becomes a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// One tick, in time constants of the averages.
    pub(crate) per_tick: f32,
    /// How many times as long as usual a failure counts.
    pub(crate) penalty: f32,
    pub(crate) ramp: Option<Ramp>,
}

/// How the share of an endpoint grows that was added, or has returned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ramp {
    pub(crate) ticks: u32,
    pub(crate) least: f32,
    /// One over the aggression.
    pub(crate) exponent: f32,
}

/// What a call takes at least, in nanoseconds: those that are answered at once are told apart by how many there are.
const FLOOR: f32 = 1_000.0;
/// An endpoint that takes so many times as long as usual, failures counted in, is far worse than usual.
const POOR: f32 = 8.0;
/// After so long a report of its own load is worth a third: about a second.
const REPORT_TICKS: f32 = 1_000.0;

impl Part<'_> {
    fn root(&self, index: usize) -> usize {
        let index = self.indices.get(index).map_or(usize::MAX, |index| *index as usize);
        self.of.map_or(index, |part| part.root(index))
    }
}

#[cold]
fn is_among(id: EndpointId, lists: [&[EndpointId]; 2]) -> bool {
    lists.iter().any(|list| list.contains(&id))
}

/// All indices once, from one on.
pub(super) fn scan(len: usize, start: usize) -> impl Iterator<Item = usize> {
    (start..len).chain(0..start.min(len))
}

impl<'a> View<'a> {
    #[inline]
    pub(crate) fn new(base: &'a Base<'a>) -> Self {
        View { base, part: None }
    }

    /// How many endpoints there are, ready or not.
    #[inline]
    pub fn len(&self) -> usize {
        self.part.map_or(self.base.keys.len(), |part| part.indices.len())
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of the endpoints only: a view in which index *i* is the endpoint that is `indices[i]` in this one.
    pub fn only<'b>(&'b self, indices: &'b [u32]) -> View<'b> {
        View { base: self.base, part: Some(Part { indices, of: self.part.as_ref() }) }
    }

    /// The index among all endpoints.
    #[inline]
    fn root(&self, index: usize) -> usize {
        match &self.part {
            None => index,
            Some(part) => part.root(index),
        }
    }

    #[inline]
    pub(super) fn gauge(&self, index: usize) -> Option<&'a Gauge> {
        let key = self.base.keys.get(self.root(index))?;
        Some(self.base.arena.at(key.slot))
    }

    /// Whether a call may go there now: it takes calls, and this call has not tried it.
    #[inline]
    pub fn is_ready(&self, index: usize) -> bool {
        self.gauge(index).is_some_and(|gauge| self.flags(gauge) & self.base.takes != 0)
    }

    /// Whether it takes calls, and neither its breaker nor its health checks speak against it. While so few are well that
    /// all get calls, this says which ones are.
    #[inline]
    pub fn is_well(&self, index: usize) -> bool {
        self.gauge(index).is_some_and(|gauge| self.flags(gauge) & WELL != 0)
    }

    /// As [`is_ready`](Self::is_ready); of one that is given only a growing share of the calls (slow start), by chance as
    /// often as its share is. For pickers that draw one endpoint after another until one is ready.
    #[inline]
    pub fn is_drawn(&self, index: usize) -> bool {
        self.gauge(index).is_some_and(|gauge| self.draws(gauge))
    }

    /// As [`is_drawn`](Self::is_drawn), by a number from 0 to 1 in place of chance: of one whose share grows, if its share
    /// is above the number. So calls that belong together are drawn together.
    #[inline]
    pub fn is_drawn_by(&self, index: usize, number: f32) -> bool {
        self.gauge(index).is_some_and(|gauge| self.draws_with(gauge, || number))
    }

    #[inline]
    pub(super) fn draws(&self, gauge: &Gauge) -> bool {
        self.draws_with(gauge, fastrand::f32)
    }

    #[inline]
    fn draws_with(&self, gauge: &Gauge, number: impl FnOnce() -> f32) -> bool {
        let flags = self.flags(gauge);
        flags & self.base.takes != 0 && (flags & RAMPING == 0 || number() < self.ramp(gauge))
    }

    #[inline]
    fn flags(&self, gauge: &Gauge) -> u32 {
        let Base { tried, passed, .. } = *self.base;
        if !(tried.is_empty() && passed.is_empty()) && is_among(gauge.id(), [tried, passed]) {
            return 0;
        }
        gauge.flags()
    }

    /// What share of its calls it is given, while that grows: above 0, up to 1.
    #[cold]
    #[inline(never)]
    fn ramp(&self, gauge: &Gauge) -> f32 {
        let Some(ramp) = self.base.tuning.ramp else { return 1.0 };
        let ticks = pace::since(gauge.risen(), self.base.now);
        if ticks >= ramp.ticks {
            return 1.0;
        }
        (ticks as f32 / ramp.ticks as f32).powf(ramp.exponent).max(ramp.least)
    }

    /// The calls of this process that are under way there.
    #[inline]
    pub fn in_flight(&self, index: usize) -> u32 {
        self.gauge(index).map_or(0, Gauge::in_flight)
    }

    /// Its weight, compared with the others'; less while its share grows (slow start).
    pub fn weight(&self, index: usize) -> f32 {
        let Some(gauge) = self.gauge(index) else { return 0.0 };
        match gauge.flags() & RAMPING {
            0 => gauge.weight(),
            _ => gauge.weight() * self.ramp(gauge),
        }
    }

    /// Its weight, compared with the others', also while its share grows.
    pub(crate) fn whole_weight(&self, index: usize) -> f32 {
        self.gauge(index).map_or(0.0, Gauge::weight)
    }

    /// How long it takes to answer, as far as is known: see [`PowerOfTwo`](crate::PowerOfTwo).
    pub fn latency(&self, index: usize) -> Duration {
        let nanos = self.gauge(index).map_or(0.0, |gauge| self.nanos(gauge));
        Duration::from_nanos(nanos as u64)
    }

    /// Which share of its calls fails, as far as is known: from 0 to 1, or above it where it asked to be left alone for a
    /// while.
    pub fn failures(&self, index: usize) -> f32 {
        self.gauge(index).map_or(0.0, |gauge| gauge.failures(self.base.now, self.base.tuning.per_tick))
    }

    #[inline]
    fn nanos(&self, gauge: &Gauge) -> f32 {
        gauge.latency(self.base.usual, self.base.now, self.base.tuning.per_tick)
    }

    /// What a call there has to expect: the latency, times the calls that are there already and this one, times what
    /// failures make of it. In nanoseconds; to be compared only.
    pub fn load(&self, index: usize) -> f32 {
        self.load_beside(index, 0)
    }

    /// As [`load`](Self::load), compared with an endpoint that has so many calls under way. One that fails at once has
    /// few, however many it gets; it is taken to have as many as the other, as far as it fails.
    pub fn load_beside(&self, index: usize, others: u32) -> f32 {
        self.gauge(index).map_or(f32::MAX, |gauge| self.load_of(gauge, gauge.in_flight(), others))
    }

    /// As [`load_beside`](Self::load_beside), whatever its latency is: calls that are there and this one, and what
    /// failures make of it.
    pub fn crowd_beside(&self, index: usize, others: u32) -> f32 {
        self.gauge(index).map_or(f32::MAX, |gauge| self.crowd_of(gauge, gauge.in_flight(), others))
    }

    #[inline]
    pub(super) fn load_of(&self, gauge: &Gauge, calls: u32, others: u32) -> f32 {
        self.nanos(gauge).max(FLOOR) * self.crowd_of(gauge, calls, others)
    }

    #[inline]
    pub(super) fn crowd_of(&self, gauge: &Gauge, calls: u32, others: u32) -> f32 {
        if gauge.is_plain() {
            return calls as f32 + 1.0;
        }
        self.crowd_beyond(gauge, calls, others)
    }

    /// Of one that fails, or reports its own load.
    #[inline(never)]
    fn crowd_beyond(&self, gauge: &Gauge, calls: u32, others: u32) -> f32 {
        let Tuning { per_tick, penalty, .. } = *self.base.tuning;
        let mut calls = calls as f32;
        if let Some((reported, ticks)) = gauge.report(self.base.now) {
            // There are others who call it; what it said is worth less and less.
            calls = calls.max(reported as f32 * pace::fade(ticks as f32 / REPORT_TICKS));
        }
        let failures = gauge.failures(self.base.now, per_tick);
        (calls.max(others as f32 * failures.min(1.0)) + 1.0) * (1.0 + penalty * failures)
    }

    /// Whether it is far worse than usual, however few calls are there: by its failures, and by its latency if that is to
    /// count.
    #[inline]
    pub(crate) fn is_poor(&self, index: usize, by_latency: bool) -> bool {
        let least = POOR * self.base.usual.max(FLOOR);
        self.gauge(index)
            .is_some_and(|gauge| gauge.may_be_poor(least, by_latency) && self.is_poor_now(gauge, by_latency))
    }

    #[cold]
    #[inline(never)]
    fn is_poor_now(&self, gauge: &Gauge, by_latency: bool) -> bool {
        let Tuning { per_tick, penalty, .. } = *self.base.tuning;
        let usual = self.base.usual.max(FLOOR);
        let nanos = if by_latency { self.nanos(gauge).max(FLOOR) } else { usual };
        nanos * (1.0 + penalty * gauge.failures(self.base.now, per_tick)) > POOR * usual
    }

    /// The endpoint: address, weight, zone, labels, state.
    ///
    /// # Panics
    /// If there is no such index.
    pub fn endpoint(&self, index: usize) -> &'a Endpoint {
        &self.base.endpoints[self.root(index)]
    }

    /// Which one it is.
    ///
    /// # Panics
    /// If there is no such index.
    pub fn id(&self, index: usize) -> EndpointId {
        self.endpoint(index).id()
    }

    /// The context of the call, if it has one that is read: see
    /// [`Balancer::honour_context`](crate::Balancer::honour_context).
    #[inline]
    pub fn context(&self) -> Option<&'a Context> {
        self.base.context
    }

    /// The method that is called, if it is known: as for the [context](Self::context).
    #[inline]
    pub fn method(&self) -> Option<&'a Method> {
        self.base.method
    }

    /// Any number below `end`; 0 if that is 0. From the generator of the thread, `fastrand`'s: a test seeds it.
    #[inline]
    pub fn random(&self, end: usize) -> usize {
        ((u128::from(fastrand::u64(..)) * end as u128) >> 64) as usize
    }

    /// Any number from 0 to 1.
    #[inline]
    pub fn random_share(&self) -> f32 {
        fastrand::f32()
    }

    /// Any endpoint that is ready, each as likely as the others: a few draws at random, and if those are not ready,
    /// the first one that is from there on.
    pub fn any_ready(&self) -> Option<usize> {
        let len = self.len();
        for _ in 0..4 {
            let index = self.random(len);
            if self.is_drawn(index) {
                return Some(index);
            }
        }
        scan(len, self.random(len)).find(|index| self.is_ready(*index))
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("endpoints", &self.len()).finish_non_exhaustive()
    }
}
