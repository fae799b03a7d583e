//! Who waits, in order: a lane for each rank, linked through one table, so that joining, leaving and passing on
//! take the same few steps however many wait, and a table that has grown is used again.

use std::task::Waker;

/// How many ranks there are: one for each priority.
pub(crate) const RANKS: usize = 8;

/// Whose turn it is among those of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    OldestFirst,
    NewestFirst,
}

/// Names one that waits. Whoever holds it gives it back once, by `Queue::leave`, or by `Queue::poll` when that
/// is ready.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

/// What has become of one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    Waiting,
    /// Its turn has come: it counts as in flight.
    Granted,
    /// It had to make room for another one.
    Evicted,
}

const NONE: u32 = u32::MAX;

struct Slot {
    state: State,
    rank: u8,
    /// Towards the older one of its lane; of a free slot, the next free one.
    older: u32,
    newer: u32,
    waker: Option<Waker>,
}

#[derive(Clone, Copy)]
struct Lane {
    oldest: u32,
    newest: u32,
}

pub(crate) struct Queue {
    slots: Vec<Slot>,
    free: u32,
    lanes: [Lane; RANKS],
    waiting: u32,
    order: Order,
}

impl Queue {
    pub(crate) fn new() -> Self {
        let lane = Lane { oldest: NONE, newest: NONE };
        Queue { slots: Vec::new(), free: NONE, lanes: [lane; RANKS], waiting: 0, order: Order::OldestFirst }
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// From here on.
    pub(crate) fn set_order(&mut self, order: Order) {
        self.order = order;
    }

    /// Takes a place at the end of the lane of its rank.
    pub(crate) fn join(&mut self, rank: u8) -> Ticket {
        let lane = self.lanes[usize::from(rank)];
        let slot = Slot { state: State::Waiting, rank, older: lane.newest, newer: NONE, waker: None };
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
        match self.slots.get_mut(lane.newest as usize) {
            Some(before) => before.newer = at,
            None => self.lanes[usize::from(rank)].oldest = at,
        }
        self.lanes[usize::from(rank)].newest = at;
        self.waiting += 1;
        Ticket(at)
    }

    /// The highest rank that waits.
    pub(crate) fn first_rank(&self) -> Option<u8> {
        (0..RANKS as u8).rev().find(|rank| self.lanes[usize::from(*rank)].oldest != NONE)
    }

    /// The turn of the next one of this rank has come. Answers with whom to wake.
    pub(crate) fn grant(&mut self, rank: u8) -> Option<Waker> {
        let lane = self.lanes[usize::from(rank)];
        let at = match self.order {
            Order::OldestFirst => lane.oldest,
            Order::NewestFirst => lane.newest,
        };
        self.take(at, State::Granted)
    }

    /// Has one that waits make room for one of `rank` that comes, if there is one with less of a claim: of a lower
    /// rank; or of the same rank where the newest goes first, for then the oldest is the last to have its turn.
    pub(crate) fn evict_for(&mut self, rank: u8) -> Option<Option<Waker>> {
        let lowest = (0..=rank).find(|rank| self.lanes[usize::from(*rank)].oldest != NONE)?;
        let lane = self.lanes[usize::from(lowest)];
        let at = match self.order {
            Order::NewestFirst => lane.oldest,
            Order::OldestFirst if lowest < rank => lane.newest,
            Order::OldestFirst => return None,
        };
        Some(self.take(at, State::Evicted))
    }

    /// Looks after one that waits. While it waits, `waker` is to be woken; the one before comes back, to be
    /// dropped without the lock. Once it does not, its ticket is given back.
    pub(crate) fn poll(&mut self, ticket: &Ticket, waker: &Waker) -> (State, Option<Waker>) {
        let slot = &mut self.slots[ticket.0 as usize];
        if slot.state == State::Waiting {
            let same = slot.waker.as_ref().is_some_and(|known| known.will_wake(waker));
            let before = if same { None } else { slot.waker.replace(waker.clone()) };
            return (State::Waiting, before);
        }
        (self.release(ticket.0), None)
    }

    /// Gives a ticket back. Answers with what had become of it, and the waker, to be dropped without the lock.
    pub(crate) fn leave(&mut self, ticket: &Ticket) -> (State, Option<Waker>) {
        let mut waker = None;
        let state = self.slots[ticket.0 as usize].state;
        if state == State::Waiting {
            waker = self.take(ticket.0, State::Evicted);
        }
        self.release(ticket.0);
        (state, waker)
    }

    /// Takes one that waits out of its lane.
    fn take(&mut self, at: u32, state: State) -> Option<Waker> {
        let slot = &mut self.slots[at as usize];
        slot.state = state;
        let (rank, older, newer, waker) = (usize::from(slot.rank), slot.older, slot.newer, slot.waker.take());
        match self.slots.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.lanes[rank].oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.lanes[rank].newest = older,
        }
        self.waiting -= 1;
        waker
    }

    fn release(&mut self, at: u32) -> State {
        let slot = &mut self.slots[at as usize];
        slot.older = std::mem::replace(&mut self.free, at);
        std::mem::replace(&mut slot.state, State::Free)
    }
}
