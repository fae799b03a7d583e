//! The connections of a shared pool.

use crate::{
    Connection, Ping,
    plan::Demand,
    queue::{Outcome, Queue, Ticket},
    store::{self, Counts, Entered, News, Standing, Store},
    sync::{AtomicBool, Mutex, lock},
};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
};
use tokio::time::Instant;
use towpath_core::{Error, Live};

/// All connections, for everybody to see; the line of those who wait until there is one.
pub(crate) struct Commons<C> {
    /// Replaced with the line locked: who joins it knows that there was none to be had.
    pub(super) open: Live<Open<C>>,
    line: Mutex<Queue<()>>,
    /// Somebody found no room on any of them.
    wish: AtomicBool,
}

/// The connections as callers see them: the first one with room is taken.
pub(crate) struct Open<C> {
    pub(super) slots: Vec<Arc<Slot<C>>>,
    pub(super) share: usize,
    /// Whether there could be one more, and none is on its way.
    pub(super) can_grow: bool,
}

pub(crate) struct Slot<C> {
    id: u64,
    pub(super) connection: C,
    /// Since the keeper last looked.
    used: AtomicBool,
}

impl<C: Connection> Slot<C> {
    /// Notes that there was a call.
    #[inline]
    pub(super) fn touch(&self) {
        // Most often it is noted already, and threads do not take the line away from each other.
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }
}

impl<C> Clone for Open<C> {
    fn clone(&self) -> Self {
        Open { slots: self.slots.clone(), share: self.share, can_grow: self.can_grow }
    }
}

impl<C: Connection + Sync> Open<C> {
    /// Whether a call can be made.
    pub(super) fn is_usable(&self) -> bool {
        self.slots.iter().any(|slot| !slot.connection.is_closing())
    }
}

impl<C: Connection + Sync> Commons<C> {
    pub(crate) fn new() -> Self {
        let open = Open { slots: Vec::new(), share: 1, can_grow: false };
        Commons { open: Live::new(open), line: Mutex::new(Queue::new()), wish: AtomicBool::new(false) }
    }

    /// Wishes for one more. Answers with whether the keeper is to know.
    pub(super) fn wish(&self) -> bool {
        !self.wish.load(Relaxed) && !self.wish.swap(true, Relaxed)
    }

    /// Replaces what callers see, with the line locked; and has those in it look again, if that may be of use to them.
    fn change(&self, look: bool, change: impl FnOnce(&mut Open<C>)) {
        let mut line = lock(&self.line);
        let before = self.open.update(|open| {
            let mut open = open.clone();
            change(&mut open);
            Ok::<_, std::convert::Infallible>(open)
        });
        let wakers = if look { line.wake_all() } else { Vec::new() };
        drop(line);
        // What the last one of a connection drops is not ours.
        drop(before);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<C: Connection + Sync> Store for Commons<C> {
    type Connection = C;
    type Grant = ();
    type Aside = Id;

    fn enter(&self, most: u32, impatient: bool) -> Entered<()> {
        loop {
            let version = self.open.version();
            if self.open.get().is_usable() {
                return Entered::Got(());
            }
            let mut line = lock(&self.line);
            if self.open.version() != version {
                continue;
            }
            if line.waiting() >= most {
                return Entered::Full;
            }
            return Entered::Waits { ticket: line.join(impatient), tell: true };
        }
    }

    fn poll(&self, ticket: &Ticket, waker: &Waker) -> Option<Outcome<()>> {
        let polled = lock(&self.line).poll(ticket, waker);
        polled.ok()
    }

    fn leave(&self, ticket: &Ticket) {
        let left = lock(&self.line).leave(ticket);
        drop(left);
    }

    fn put(&self, id: u64, connection: C, _now: Instant) {
        let slot = Arc::new(Slot { id, connection, used: AtomicBool::new(false) });
        self.change(true, |open| open.slots.push(slot));
    }

    fn remove(&self, id: u64) {
        let slot = self.open.get().slots.iter().find(|slot| slot.id == id).cloned();
        self.change(false, |open| open.slots.retain(|slot| slot.id != id));
        if let Some(slot) = slot {
            // Services that were not called since still have it at hand: they must not hold it open.
            slot.connection.close();
        }
    }

    fn clear(&self) {
        let open = self.open.get();
        self.change(true, |open| open.slots.clear());
        open.slots.iter().for_each(|slot| slot.connection.close());
    }

    fn connect_failed(&self, error: &Error) {
        let wakers = lock(&self.line).fail_impatient(error);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn demand(&self) -> Demand {
        let open = self.open.get();
        let is_used = |slot: &Slot<C>| slot.used.swap(false, Relaxed) || slot.connection.in_flight() > 0;
        let unused = open.slots.iter().filter(|slot| !is_used(slot)).map(|slot| (slot.id, None)).collect();
        let waiting = lock(&self.line).waiting();
        let (more, grow) = (waiting.min(1), self.wish.swap(false, Relaxed));
        Demand { more, grow, unused, ..Demand::default() }
    }

    fn publish(&self, standing: Standing) -> bool {
        let (share, can_grow) = (standing.share, standing.can_grow && standing.connecting == 0);
        let open = self.open.get();
        if (open.share, open.can_grow) != (share, can_grow) {
            self.change(false, |open| (open.share, open.can_grow) = (share, can_grow));
        }
        false
    }

    fn ask(&self, id: u64) -> Option<(Ping, Id)> {
        let open = self.open.get();
        let slot = open.slots.iter().find(|slot| slot.id == id)?;
        Some((slot.connection.ping()?, Id(id)))
    }

    fn put_back(&self, _aside: Id) {}

    fn discard(&self, aside: Id) {
        self.remove(aside.0);
    }

    fn news(&self) -> News<Id> {
        News { tired: Vec::new(), spent: Vec::new() }
    }

    fn counts(&self) -> Counts {
        let open = self.open.get();
        let in_flight = |slot: &Arc<Slot<C>>| slot.connection.in_flight();
        Counts {
            waiting: lock(&self.line).waiting(),
            idle: open.slots.iter().filter(|slot| in_flight(slot) == 0).count() as u32,
            in_flight: open.slots.iter().map(in_flight).sum(),
        }
    }
}

/// A connection that stays where it is while it is looked after.
pub(crate) struct Id(u64);

impl store::Aside for Id {
    fn id(&self) -> u64 {
        self.0
    }

    fn poll_rested(&mut self, _cx: &mut Context<'_>) -> Poll<bool> {
        Poll::Ready(true)
    }
}
