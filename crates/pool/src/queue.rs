//! Who waits for a connection, first come first served: one line for all that can end the wait, linked through one table, so
//! that joining, leaving and granting take the same few steps however many wait, and a table that has grown is used
//! again.

use std::task::Waker;
use towpath_core::Error;

/// Names one that waits. Whoever holds it gives it back once: by `Queue::poll` when that has an outcome, or by
/// `Queue::leave`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

/// What a wait came to.
#[derive(Debug)]
pub(crate) enum Outcome<G> {
    /// Its turn has come: here is what it waited for.
    Granted(G),
    /// There is none to be had.
    Failed(Error),
    /// Things have changed: it is to look again.
    Look,
}

enum Seat<G> {
    Free,
    Waiting,
    Done(Outcome<G>),
}

struct Slot<G> {
    seat: Seat<G>,
    /// Whether a connect that fails ends its wait.
    impatient: bool,
    /// Towards the older one; of a free slot, the next free one.
    older: u32,
    newer: u32,
    waker: Option<Waker>,
}

const NONE: u32 = u32::MAX;

pub(crate) struct Queue<G> {
    slots: Vec<Slot<G>>,
    free: u32,
    oldest: u32,
    newest: u32,
    waiting: u32,
}

impl<G> Queue<G> {
    pub(crate) fn new() -> Self {
        Queue { slots: Vec::new(), free: NONE, oldest: NONE, newest: NONE, waiting: 0 }
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Takes the place at the end.
    pub(crate) fn join(&mut self, impatient: bool) -> Ticket {
        let slot = Slot { seat: Seat::Waiting, impatient, older: self.newest, newer: NONE, waker: None };
        let at = match self.slots.get_mut(self.free as usize) {
            Some(free) => {
                let at = std::mem::replace(&mut self.free, free.older);
                *free = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        match self.slots.get_mut(self.newest as usize) {
            Some(before) => before.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
        self.waiting += 1;
        Ticket(at)
    }

    /// The turn of the first one has come. Answers with whom to wake; or, if nobody waits, with what was to be granted.
    pub(crate) fn grant(&mut self, granted: G) -> Result<Option<Waker>, G> {
        match self.oldest {
            NONE => Err(granted),
            at => Ok(self.settle(at, Outcome::Granted(granted))),
        }
    }

    /// Has all look again. Answers with whom to wake, in order.
    pub(crate) fn wake_all(&mut self) -> Vec<Waker> {
        self.settle_where(|_| true, || Outcome::Look)
    }

    /// Ends the wait of those who do not wait for another connect.
    pub(crate) fn fail_impatient(&mut self, error: &Error) -> Vec<Waker> {
        self.settle_where(|impatient| impatient, || Outcome::Failed(error.clone()))
    }

    /// Looks after one that waits. While it waits, `waker` is to be woken; the one before comes back, to be dropped without
    /// the lock. Once it does not, its ticket is given back.
    pub(crate) fn poll(&mut self, ticket: &Ticket, waker: &Waker) -> Result<Outcome<G>, Option<Waker>> {
        let slot = &mut self.slots[ticket.0 as usize];
        match std::mem::replace(&mut slot.seat, Seat::Free) {
            Seat::Waiting => {
                slot.seat = Seat::Waiting;
                let same = slot.waker.as_ref().is_some_and(|known| known.will_wake(waker));
                Err(if same { None } else { slot.waker.replace(waker.clone()) })
            }
            Seat::Done(outcome) => {
                self.release(ticket.0);
                Ok(outcome)
            }
            // A ticket is given back once.
            Seat::Free => Ok(Outcome::Look),
        }
    }

    /// Gives a ticket back. Answers with what had been granted to it, and with its waker, to be dropped without the lock.
    pub(crate) fn leave(&mut self, ticket: &Ticket) -> (Option<G>, Option<Waker>) {
        let mut waker = None;
        if matches!(self.slots[ticket.0 as usize].seat, Seat::Waiting) {
            waker = self.settle(ticket.0, Outcome::Look);
        }
        let seat = std::mem::replace(&mut self.slots[ticket.0 as usize].seat, Seat::Free);
        self.release(ticket.0);
        match seat {
            Seat::Done(Outcome::Granted(granted)) => (Some(granted), waker),
            _ => (None, waker),
        }
    }

    fn settle_where(&mut self, which: impl Fn(bool) -> bool, outcome: impl Fn() -> Outcome<G>) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut at = self.oldest;
        while let Some(slot) = self.slots.get(at as usize) {
            let next = slot.newer;
            if which(slot.impatient) {
                wakers.extend(self.settle(at, outcome()));
            }
            at = next;
        }
        wakers
    }

    /// Takes one out of the line.
    fn settle(&mut self, at: u32, outcome: Outcome<G>) -> Option<Waker> {
        let slot = &mut self.slots[at as usize];
        slot.seat = Seat::Done(outcome);
        let (older, newer, waker) = (slot.older, slot.newer, slot.waker.take());
        match self.slots.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        self.waiting -= 1;
        waker
    }

    fn release(&mut self, at: u32) {
        self.slots[at as usize].older = std::mem::replace(&mut self.free, at);
    }
}
