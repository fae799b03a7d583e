//! What a call holds from when it was picked for until it ends.

use crate::{
    common::Common,
    fleet::{News, tick},
    gauge::{Gauge, Key},
    pick::Pick,
};
use towpath_core::{Class, Clock, LoadReport, Loan, Verdict};

/// A call to one endpoint, counted there until this is dropped.
pub(crate) struct Ticket<S, P: Pick, C, I, R> {
    pub(crate) common: Loan<Common<S, P, C, I, R>>,
    /// When the call began, in the fleet's nanoseconds.
    pub(crate) start: u64,
    pub(crate) key: Key,
    /// It finds out whether an endpoint that is out has recovered.
    pub(crate) probe: bool,
    /// The call was made, and not answered at once.
    pub(crate) waits: bool,
}

impl<S, P: Pick, C, I, R> Ticket<S, P, C, I, R> {
    #[inline]
    fn gauge(&self) -> &Gauge {
        self.common.fleet.arena.at(self.key.slot)
    }

    /// The call ended at that moment of the fleet's time. It is counted until this is dropped.
    #[inline]
    pub(crate) fn ended(&self, class: &Class, end: u64) {
        if !matches!(class.verdict, Verdict::Success | Verdict::Answer) {
            return self.not_well(class, end);
        }
        let fleet = &*self.common.fleet;
        let (now, nanos, per_tick) = (tick(end), nanos(self.start, end), fleet.per_tick());
        let gauge = self.gauge();
        gauge.ended(false, now, per_tick);
        gauge.took(nanos, now, per_tick);
        fleet.took(nanos, now, per_tick);
    }

    /// The endpoint said how busy it is.
    pub(crate) fn reported(&self, report: LoadReport, now: u64) {
        self.gauge().reported(report.in_flight, tick(now));
    }

    /// It failed, or nothing is known.
    #[cold]
    fn not_well(&self, class: &Class, end: u64) {
        // A limit off the wire is one, too: too much for it just now. Of all else nothing is held against it: it may be that
        // it was not even asked.
        if class.verdict != Verdict::Failure && !(class.soft && class.useful) {
            return;
        }
        let fleet = &*self.common.fleet;
        let (now, per_tick) = (tick(end), fleet.per_tick());
        let gauge = self.gauge();
        gauge.ended(true, now, per_tick);
        gauge.took_at_least(nanos(self.start, end), now, per_tick);
        if let Some(after) = class.retry_after {
            let after = after.min(fleet.config.get().retry_after_max);
            gauge.asked_for(crate::fleet::ticks(after), now, per_tick);
        }
    }

    /// Nobody waits for the answer any more: it would have taken longer than this.
    #[cold]
    fn abandoned(&self) {
        let fleet = &*self.common.fleet;
        let now = fleet.bell.nanos(Clock::now());
        self.gauge().took_at_least(nanos(self.start, now), tick(now), fleet.per_tick());
    }
}

/// At least one: nothing is what is not known.
#[inline]
fn nanos(start: u64, end: u64) -> f32 {
    end.saturating_sub(start).max(1) as f32
}

impl<S, P: Pick, C, I, R> Drop for Ticket<S, P, C, I, R> {
    #[inline]
    fn drop(&mut self) {
        if self.waits {
            self.abandoned();
        }
        self.gauge().leave();
        if self.probe {
            self.common.fleet.tell([News::Probed(self.key)]);
        }
    }
}
