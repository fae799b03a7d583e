//! What one call, or one clone, holds of a gate.

use super::{Full, Gate, Line, queue::Ticket};
use std::{
    ops::Deref,
    task::{Context, Poll, ready},
};
use towpath_core::{Loan, Shared};

/// A place in flight, or in the queue, or none yet; it is given back when it is dropped. `P` is what keeps the gate
/// alive.
pub(crate) struct Place<P: Deref<Target: AsRef<Gate>>> {
    owner: P,
    hold: Hold,
}

enum Hold {
    Nothing,
    Waiting(Ticket),
    Room,
}

impl<P: Deref<Target: AsRef<Gate>>> Place<P> {
    pub(crate) fn new(owner: P) -> Self {
        Place { owner, hold: Hold::Nothing }
    }

    /// With room that was taken for it.
    #[inline]
    pub(crate) fn with_room(owner: P) -> Self {
        Place { owner, hold: Hold::Room }
    }

    /// Has room that was taken for it.
    #[inline]
    pub(crate) fn put_room(&mut self) {
        self.give_back();
        self.hold = Hold::Room;
    }

    #[inline]
    pub(crate) fn owner(&self) -> &P {
        &self.owner
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.hold, Hold::Waiting(_))
    }

    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        matches!(self.hold, Hold::Room)
    }

    #[inline]
    pub(crate) fn give_back(&mut self) {
        match std::mem::replace(&mut self.hold, Hold::Nothing) {
            Hold::Nothing => {}
            Hold::Waiting(ticket) => self.gate().leave(&ticket),
            Hold::Room => self.gate().give(),
        }
    }

    /// Joins the queue.
    pub(crate) fn join(&mut self, rank: u8, line: Line) -> Result<(), Full> {
        self.give_back();
        self.hold = Hold::Waiting(self.gate().join(rank, line)?);
        Ok(())
    }

    /// Waits for its turn; ready at once if it does not wait.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Full>> {
        if let Hold::Waiting(ticket) = &self.hold {
            let outcome = ready!(self.gate().poll(ticket, cx));
            // The ticket is given back by now.
            self.hold = if outcome.is_ok() { Hold::Room } else { Hold::Nothing };
            return Poll::Ready(outcome);
        }
        Poll::Ready(Ok(()))
    }

    fn gate(&self) -> &Gate {
        (*self.owner).as_ref()
    }
}

impl<T: AsRef<Gate>> Place<Shared<T>> {
    /// The room that it has, for a call: from here on it is that one's.
    #[inline]
    pub(crate) fn lend_room(&mut self) -> Place<Loan<T>> {
        let hold = std::mem::replace(&mut self.hold, Hold::Nothing);
        debug_assert!(matches!(hold, Hold::Room), "there is no room to lend");
        Place::with_room(self.owner.lend())
    }
}

impl<P: Deref<Target: AsRef<Gate>>> Drop for Place<P> {
    #[inline]
    fn drop(&mut self) {
        match self.hold {
            Hold::Nothing => {}
            Hold::Room => self.gate().give(),
            Hold::Waiting(_) => self.give_back(),
        }
    }
}
