//! What a breaker keeps of its calls: the window, and the row of failures.

use super::{Cell, GOOD, Inner, tell::pack};
use crate::{
    BreakerConfig, Counts, Reason, Window, event::Ended, sync::Ordering, trip::Seen, window::Buckets,
};
use tokio::time::Instant;

/// What is kept of the calls.
pub(super) enum Kept {
    Time(Box<Buckets>),
    Calls { most: u64, from: u64 },
}

impl Cell {
    /// A call that failed or was slow, while closed.
    pub(super) fn count(&self, inner: &mut Inner, call: Ended, config: &BreakerConfig, now: Instant) {
        self.turn_locked(inner, now);
        inner.locked.count(call);
        inner.slow_good += u64::from(!call.failed);
        if let Kept::Calls { .. } = inner.window {
            self.ring.push(call);
        }
        let good = self.tally.total(GOOD) + inner.slow_good;
        if good != inner.good_before {
            (inner.good_before, inner.consecutive) = (good, 0);
        }
        if call.failed && !call.soft {
            inner.consecutive = inner.consecutive.saturating_add(1);
        }
        let totals = self.totals(inner);
        let seen = Seen {
            window: self.window(inner),
            total: totals.since(inner.epoch_totals),
            consecutive: inner.consecutive,
            failed: call.failed,
            soft: call.soft,
            now,
            closed_for: now.saturating_duration_since(inner.machine.since()),
            config,
        };
        let reason = match &self.settings.trip {
            Some(policy) => policy.trips(&seen).then(|| seen.by_config().unwrap_or(Reason::Policy)),
            None => seen.by_config(),
        };
        if let Some(reason) = reason {
            let window = seen.window;
            if inner.machine.trip(config, reason, now) {
                inner.tripped = window;
                self.why.store(pack(reason, window), Ordering::Relaxed);
            }
        }
    }

    #[cold]
    pub(super) fn turn(&self, now: Instant) {
        // If somebody has the lock, they turn, or the next call does.
        let Ok(mut inner) = self.inner.try_lock() else { return };
        self.turn_locked(&mut inner, now);
    }

    /// Takes the config as it is now. If the window is another one, it begins anew; an open time that runs
    /// stays.
    #[cold]
    pub(super) fn reconfigure(&self, now: Instant) {
        let mut inner = self.lock();
        let version = self.settings.config.version();
        let config = self.settings.config.get();
        let before = std::mem::replace(&mut inner.config, config);
        inner.replaced += 1;
        self.version.store(version, Ordering::Relaxed);
        if before.window != inner.config.window {
            self.restart(&mut inner, now);
        }
        self.slow.store(slow_ns(&inner.config), Ordering::Relaxed);
        self.leave(inner, now);
    }

    /// Begins a window.
    pub(super) fn restart(&self, inner: &mut Inner, now: Instant) {
        let totals = self.totals(inner);
        (inner.epoch_totals, inner.consecutive) = (totals, 0);
        inner.good_before = self.tally.total(GOOD) + inner.slow_good;
        inner.window = match inner.config.window {
            Window::Time(time) => {
                let window_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                Kept::Time(Box::new(Buckets::new(window_ns, self.ns(now), totals)))
            }
            Window::Calls(calls) => Kept::Calls { most: calls.into(), from: self.ring.next() },
        };
        self.slow.store(slow_ns(&inner.config), Ordering::Relaxed);
        self.show_turn(inner);
    }

    pub(super) fn turn_locked(&self, inner: &mut Inner, now: Instant) {
        let totals = self.totals(inner);
        if let Kept::Time(buckets) = &mut inner.window {
            buckets.turn(self.ns(now), totals);
        }
        self.show_turn(inner);
    }

    fn show_turn(&self, inner: &Inner) {
        let ends = match &inner.window {
            Kept::Time(buckets) => buckets.ends(),
            Kept::Calls { .. } => u64::MAX,
        };
        self.turn_at.store(ends, Ordering::Relaxed);
    }

    fn totals(&self, inner: &Inner) -> Counts {
        Counts { calls: inner.locked.calls + self.tally.total(GOOD), ..inner.locked }
    }

    pub(super) fn window(&self, inner: &Inner) -> Counts {
        match &inner.window {
            Kept::Time(buckets) => buckets.counts(self.totals(inner)),
            Kept::Calls { most, from } => self.ring.counts(*most, *from),
        }
    }
}

fn slow_ns(config: &BreakerConfig) -> u64 {
    config.slow.map_or(u64::MAX, |slow| u64::try_from(slow.as_nanos()).unwrap_or(u64::MAX - 1))
}
