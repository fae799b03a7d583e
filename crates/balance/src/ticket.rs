//! What a call holds from when it was picked for until it ends.

use crate::{
    common::Common,
    fleet::News,
    gauge::{Gauge, Key},
    pick::Pick,
};
use tokio::time::Instant;
use towpath_core::{Class, Clock, LoadReport, Loan, Verdict};

/// A call to one endpoint, counted there until this is dropped.
pub(crate) struct Ticket<S, P: Pick, C, I, R> {
    pub(crate) common: Loan<Common<S, P, C, I, R>>,
    pub(crate) key: Key,
    pub(crate) start: Instant,
    /// It finds out whether an endpoint that is out has recovered.
    pub(crate) probe: bool,
    /// The call was made, and not answered at once.
    pub(crate) waits: bool,
}

impl<S, P: Pick, C, I, R> Ticket<S, P, C, I, R> {
    fn gauge(&self) -> &Gauge {
        self.common.fleet.arena.at(self.key.slot)
    }

    /// The call ended.
    #[inline]
    pub(crate) fn finish(mut self, class: &Class, end: Instant, report: Option<LoadReport>) {
        self.waits = false;
        let fleet = &*self.common.fleet;
        let now = fleet.tick(end);
        let gauge = self.gauge();
        let nanos = end.saturating_duration_since(self.start).as_nanos().max(1) as f32;
        let per_tick = fleet.per_tick();
        match class.verdict {
            Verdict::Success | Verdict::Answer => {
                gauge.ended(false, now, per_tick);
                gauge.took(nanos, now, per_tick);
                fleet.took(nanos, now, per_tick);
            }
            Verdict::Failure => self.failed(class, nanos, end),
            // A limit off the wire: too much for it just now.
            Verdict::Nothing if class.soft && class.useful => self.failed(class, nanos, end),
            // Says nothing of the endpoint, it may be not even that it was asked.
            Verdict::Caller | Verdict::Nothing => {}
        }
        if let Some(report) = report {
            gauge.reported(report.in_flight, now);
        }
    }

    #[cold]
    fn failed(&self, class: &Class, nanos: f32, end: Instant) {
        let fleet = &*self.common.fleet;
        let (now, per_tick) = (fleet.tick(end), fleet.per_tick());
        let gauge = self.gauge();
        gauge.ended(true, now, per_tick);
        gauge.took_at_least(nanos, now, per_tick);
        if let Some(after) = class.retry_after {
            let after = after.min(fleet.config.get().retry_after_max);
            gauge.asked_for(crate::fleet::ticks(after), now, per_tick);
        }
    }

    /// Nobody waits for the answer any more: it would have taken longer than this.
    #[cold]
    fn abandoned(&self) {
        let fleet = &*self.common.fleet;
        let now = Clock::now();
        let nanos = now.saturating_duration_since(self.start).as_nanos().max(1) as f32;
        self.gauge().took_at_least(nanos, fleet.tick(now), fleet.per_tick());
    }
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
