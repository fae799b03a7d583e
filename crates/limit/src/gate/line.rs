//! The count of those in flight, and the queue in front of it.

use super::queue::{Order, Queue, RANKS, State, Ticket};
use crate::sync::{AtomicU32, AtomicU64, Mutex, lock};
use std::{
    sync::atomic::Ordering::{AcqRel, Acquire, Relaxed},
    task::{Context, Poll, Waker},
};

/// One that waits, in the upper half of the word.
const ONE_WAITING: u64 = 1 << 32;
const IN_FLIGHT: u64 = ONE_WAITING - 1;

/// Lets so many through at a time. Exact from however many threads; one locked instruction to take room that is
/// free, and one to give it back where nobody waits.
///
/// Nobody who comes overtakes somebody who waits: while anybody does, all room goes by way of the queue.
pub(crate) struct Gate {
    /// In the lower half how many are in flight; in the upper half how many wait, which changes with the queue
    /// locked. Both in one word, so that whoever gives room back and whoever begins to wait cannot miss each other:
    /// one of the two comes second, and sees what the other one did.
    word: AtomicU64,
    /// How many may be in flight for one of this rank to join them. Never less for a higher rank.
    room: [AtomicU32; RANKS],
    queue: Mutex<Queue>,
}

/// How one may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// How many may wait at a time.
    pub(crate) most: u32,
    pub(crate) order: Order,
}

/// As many wait as may.
#[derive(Debug)]
pub(crate) struct Full;

impl Gate {
    pub(crate) fn new(room: [u32; RANKS]) -> Self {
        Gate { word: AtomicU64::new(0), room: room.map(AtomicU32::new), queue: Mutex::new(Queue::new()) }
    }

    pub(crate) fn room(&self, rank: u8) -> u32 {
        self.room[usize::from(rank)].load(Relaxed)
    }

    pub(crate) fn in_flight(&self) -> u32 {
        (self.word.load(Relaxed) & IN_FLIGHT) as u32
    }

    pub(crate) fn waiting(&self) -> u32 {
        (self.word.load(Relaxed) >> 32) as u32
    }

    /// Takes room, if there is some and nobody waits for it. Answers with how many are in flight then.
    #[inline]
    pub(crate) fn try_take(&self, rank: u8) -> Option<u32> {
        let room = u64::from(self.room(rank));
        let mut word = self.word.load(Relaxed);
        // One that waits makes the word larger than any room.
        while word < room {
            match self.word.compare_exchange_weak(word, word + 1, AcqRel, Relaxed) {
                Ok(_) => return Some(word as u32 + 1),
                Err(now) => word = now,
            }
        }
        None
    }

    /// Gives room back.
    #[inline]
    pub(crate) fn give(&self) {
        if self.word.fetch_sub(1, AcqRel) >= ONE_WAITING {
            self.pass_on();
        }
    }

    /// Joins the queue, with room or without; whoever waits there is looked after by `poll`.
    ///
    /// # Errors
    /// If as many wait as may, and none of them has less of a claim.
    pub(crate) fn join(&self, rank: u8, line: Line) -> Result<Ticket, Full> {
        let mut queue = lock(&self.queue);
        queue.set_order(line.order);
        let mut evicted = None;
        if queue.waiting() >= line.most {
            evicted = Some(queue.evict_for(rank).ok_or(Full)?);
            self.word.fetch_sub(ONE_WAITING, AcqRel);
        }
        let ticket = queue.join(rank);
        self.word.fetch_add(ONE_WAITING, AcqRel);
        drop(queue);
        evicted.flatten().into_iter().for_each(Waker::wake);
        // Room that was given back before this one waited was passed on to nobody.
        self.pass_on();
        Ok(ticket)
    }

    /// Whether its turn has come: `Ok`, and it has room; or whether it had to make room for another one. Either way
    /// its ticket is given back.
    pub(crate) fn poll(&self, ticket: &Ticket, cx: &mut Context<'_>) -> Poll<Result<(), Full>> {
        let (state, before) = lock(&self.queue).poll(ticket, cx.waker());
        drop(before);
        match state {
            State::Waiting => Poll::Pending,
            State::Granted => Poll::Ready(Ok(())),
            State::Evicted | State::Free => Poll::Ready(Err(Full)),
        }
    }

    /// Waits no more. A turn that had come goes to the next one.
    pub(crate) fn leave(&self, ticket: &Ticket) {
        let mut queue = lock(&self.queue);
        let (state, waker) = queue.leave(ticket);
        if state == State::Waiting {
            self.word.fetch_sub(ONE_WAITING, AcqRel);
        }
        drop(queue);
        drop(waker);
        if state == State::Granted {
            self.give();
        }
    }

    /// Changes how many may be in flight. More of them go at once; what is in flight already goes on.
    pub(crate) fn set_room(&self, room: [u32; RANKS]) {
        for (own, room) in self.room.iter().zip(room) {
            own.store(room, Relaxed);
        }
        // With the lock: whoever begins to wait after this sees the new room, whoever waits already is seen here.
        self.pass_on();
    }

    /// Lets those go who wait and have room, one after another.
    #[cold]
    fn pass_on(&self) {
        loop {
            let mut queue = lock(&self.queue);
            let Some(rank) = queue.first_rank() else { return };
            let room = u64::from(self.room(rank));
            let go = |word: u64| (word & IN_FLIGHT < room).then(|| word + 1 - ONE_WAITING);
            // If there is none for the highest rank, there is none for those below it.
            if self.word.fetch_update(AcqRel, Acquire, go).is_err() {
                return;
            }
            let waker = queue.grant(rank);
            drop(queue);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}
