//! A place in the queue, for a time.

use super::{Full, Gate, Line, Place};
use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    task::coop::{Unconstrained, unconstrained},
    time::{Instant, Sleep, sleep_until},
};

/// Waits for room, until it gives up. Dropped, it passes its turn on.
pub(crate) struct Wait<P: Deref<Target: AsRef<Gate>>> {
    place: Place<P>,
    since: Instant,
    until: Instant,
    // Made when it really waits. The budget of tokio's tasks does not apply to it, as to no time-out.
    timer: Option<Pin<Box<Unconstrained<Sleep>>>>,
}

/// Why it waits no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GaveUp {
    /// Its time was up.
    TimedOut,
    /// It made room for one with a better claim.
    Evicted,
}

impl<P: Deref<Target: AsRef<Gate>>> Wait<P> {
    pub(crate) fn join(owner: P, rank: u8, line: Line, since: Instant, until: Instant) -> Result<Self, Full> {
        let mut place = Place::new(owner);
        place.join(rank, line)?;
        Ok(Wait { place, since, until, timer: None })
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    pub(crate) fn owner(&self) -> &P {
        self.place.owner()
    }

    /// The place, with room if that was waited for.
    pub(crate) fn into_place(self) -> Place<P> {
        self.place
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), GaveUp>> {
        if let Poll::Ready(outcome) = self.place.poll(cx) {
            return Poll::Ready(outcome.map_err(|Full| GaveUp::Evicted));
        }
        let until = self.until;
        let timer = self.timer.get_or_insert_with(|| Box::pin(unconstrained(sleep_until(until))));
        ready!(timer.as_mut().poll(cx));
        self.place.give_back();
        Poll::Ready(Err(GaveUp::TimedOut))
    }
}
