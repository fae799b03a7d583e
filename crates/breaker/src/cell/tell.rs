//! What a breaker shows and tells of what was decided.

use super::{
    ASK, CONFIG, CONFIG_BITS, Cell, EPOCH, FREE, GATE, Inner, PLAIN, REJECTED, SHUT, SHUT_HALF, keep::Kept,
};
use crate::{
    BreakerEvent, Change, Counts, Reason, State,
    state::{Gate, Refusal},
    sync::{MutexGuard, Ordering},
};
use tokio::time::Instant;

impl Cell {
    /// Shows what the machine decided, leaves the lock, and tells of a change.
    pub(super) fn leave(&self, mut inner: MutexGuard<'_, Inner>, now: Instant) {
        let moved = inner.machine.take_moved();
        if moved.is_some_and(|moved| moved.to == State::Closed && moved.from != State::Closed) {
            self.restart(&mut inner, now);
        }
        let gate = inner.machine.gate(&inner.config);
        let before = self.word.load(Ordering::Relaxed);
        let (bits, until) = match gate {
            Gate::Free => (FREE, None),
            Gate::Ask => (ASK, None),
            Gate::Shut(until) if inner.machine.state() == State::HalfOpen => (SHUT_HALF, until),
            Gate::Shut(until) => (SHUT, until),
        };
        // Only then: who has seen that it was shut and comes to read until when must not find that it never opens.
        if let Gate::Shut(_) = gate {
            self.until.store(until.map_or(u64::MAX, |until| self.ns(until)), Ordering::Relaxed);
        }
        let plain = if let Kept::Time(_) = inner.window { PLAIN } else { 0 };
        let config = (inner.replaced & ((1 << CONFIG_BITS) - 1)) << CONFIG;
        let word = inner.machine.epoch() << EPOCH | config | plain | bits;
        self.word.store(word, Ordering::Release);
        if let Some(endpoint) = &self.endpoint {
            match gate {
                Gate::Shut(until) => drop(endpoint.state().ask_ejection(until)),
                Gate::Ask if inner.machine.state() == State::HalfOpen => {
                    endpoint.state().ask_ejection(Some(now));
                }
                _ if state(before) != state(word) => drop(endpoint.state().end_ejection()),
                _ => {}
            }
        }
        let change = moved.map(|moved| {
            inner.changes += 1;
            Change {
                name: self.name.clone(),
                from: moved.from,
                to: moved.to,
                reason: moved.reason,
                at: moved.at,
                counts: inner.tripped,
                open_for: moved.open_for,
                number: inner.changes,
            }
        });
        drop(inner);
        if bits & SHUT == 0 {
            self.freed.notify_waiters();
        }
        if let Some(change) = change {
            self.settings.report(&BreakerEvent::Changed(change.clone()));
            self.changes.send_if_modified(|last| {
                let newer = last.as_ref().is_none_or(|last| last.number < change.number);
                if newer {
                    *last = Some(change);
                }
                newer
            });
        }
    }

    /// Why it opened last: how many of how many calls failed, and whether they were slow rather.
    pub(crate) fn why(&self) -> (u64, u64, bool) {
        let why = self.why.load(Ordering::Relaxed);
        (why >> HALF & FULL, why & FULL, why >> 63 != 0)
    }

    /// A call was turned away, and somebody is told so.
    pub(crate) fn reject(&self, refusal: Refusal) {
        self.tally.add(REJECTED, 1);
        self.settings.report(&BreakerEvent::Rejected { name: self.name.clone(), state: refusal.state });
    }
}

/// What the machine says by a word: the gate and the epoch.
fn state(word: u64) -> (u64, u64) {
    (word & GATE, word >> EPOCH)
}

/// How many bits each of the two counts has in [`Cell::why`].
const HALF: u32 = 31;
const FULL: u64 = (1 << HALF) - 1;

pub(super) fn pack(reason: Reason, window: Counts) -> u64 {
    let slow = reason == Reason::SlowRate;
    let part = if slow { window.slow } else { window.failures };
    u64::from(slow) << 63 | part.min(FULL) << HALF | window.calls.min(FULL)
}
