//! Who waits for what: the calls that are outstanding on one connection.
//!
//! A call's id carries the index of its slot in the low bits and a number that only grows in the high
//! bits: an answer finds its slot without a search, and a late one for a slot that has been given to
//! another call is recognised, because the ids differ.

use super::{
    line::Line,
    window::{LARGE, Window},
};
use std::{task::Waker, time::Duration};
use tokio::time::Instant;
use towpath_core::{Error, Response};

/// Low bits of an id: the slot.
const INDEX_BITS: u32 = 20;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

/// How long after a sweep the next one may come, for each slot: a sweep costs about a tenth of it.
const SWEEP_PER_SLOT: Duration = Duration::from_nanos(100);

/// As many slots are kept when nothing is outstanding.
const KEPT_SLOTS: usize = 1024;

pub(crate) type Outcome = Result<Response, Error>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Free.
    Vacant,
    /// Waits in line for room.
    Queued,
    /// May be sent: its turn has come.
    Granted,
    /// Its frame is written, or waits to be.
    Sent,
    /// Asynchronous, and accepted by the callee.
    Accepted,
    /// Ended while it waited in line.
    Refused,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: u64,
    pub(crate) phase: Phase,
    /// An ACK and a PUSH are for this call; for any other they mean nothing.
    pub(crate) is_async: bool,
    /// Of its request: what a turn promises room for.
    bytes: usize,
    /// Its request counts for the window of large bodies.
    is_large: bool,
    pub(crate) deadline: Option<Instant>,
    pub(crate) waker: Option<Waker>,
    pub(crate) outcome: Option<Outcome>,
}

/// The slots, and the line of those who wait for one.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Those in line: calls with small requests, and those with large ones, who have a window to wait for
    /// too. The small do not wait behind the large.
    small: Line,
    large: Line,
    /// Whose turn is next, if both have one.
    large_next: bool,
    pub(crate) window: Window,
    last: u64,
    /// Calls that are granted or sent and have no outcome yet, and outcomes not yet fetched.
    taken: usize,
    /// Bytes of the requests whose turn has come and who have not been sent yet.
    granted_bytes: usize,
    limit: usize,
    /// No deadline in the table is earlier than this.
    earliest: Option<Instant>,
}

/// What the table has to know of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entering {
    pub(crate) bytes: usize,
    pub(crate) is_async: bool,
    pub(crate) deadline: Option<Instant>,
}

/// Where a call stands after it asked for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It has a slot and may be sent now.
    Granted(u64),
    /// It waits in line under this id.
    Queued(u64),
}

impl Table {
    pub(crate) fn new(limit: usize) -> Self {
        Table {
            slots: Vec::new(),
            free: Vec::new(),
            small: Line::default(),
            large: Line::default(),
            large_next: false,
            window: Window::default(),
            last: 0,
            taken: 0,
            granted_bytes: 0,
            limit: limit.min(INDEX_MASK as usize),
            earliest: None,
        }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.clamp(1, INDEX_MASK as usize);
    }

    /// Calls that hold a slot, without those in line.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Bytes that are as good as queued.
    #[inline]
    pub(crate) fn granted_bytes(&self) -> usize {
        self.granted_bytes
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.taken == 0 && self.small.waiting() + self.large.waiting() == 0
    }

    /// No call in the table is due before this.
    #[inline]
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.earliest
    }

    /// A slot for a new call; `room` says whether anything but the limit keeps it from being sent now.
    /// Nobody overtakes those in line, but small calls the large. `None`: even the line is full.
    #[inline]
    pub(crate) fn enter(&mut self, room: bool, call: Entering, waker: &Waker) -> Option<Entry> {
        // What is accepted stays out for as long as it likes: it does not count.
        let is_large = call.bytes >= LARGE && !call.is_async;
        let mut granted = room && self.taken < self.limit && self.small.waiting() == 0;
        if is_large {
            granted &= self.large.waiting() == 0 && self.window.has_room(call.bytes);
        }
        let index = match self.free.pop() {
            Some(index) => index as usize,
            None => self.grow()?,
        };
        self.last += 1;
        let id = self.last << INDEX_BITS | index as u64;
        let slot = &mut self.slots[index];
        slot.id = id;
        slot.bytes = call.bytes;
        slot.is_large = is_large;
        slot.is_async = call.is_async;
        slot.deadline = call.deadline;
        slot.waker = Some(waker.clone());
        if let Some(deadline) = call.deadline {
            self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
        }
        Some(if granted {
            slot.phase = Phase::Sent;
            self.taken += 1;
            if is_large {
                self.window.enter(call.bytes);
            }
            Entry::Granted(id)
        } else {
            slot.phase = Phase::Queued;
            let line = if is_large { &mut self.large } else { &mut self.small };
            line.join(id, |id| waits(&self.slots, id));
            Entry::Queued(id)
        })
    }

    #[cold]
    fn grow(&mut self) -> Option<usize> {
        let index = self.slots.len();
        (index as u64 <= INDEX_MASK).then(|| {
            self.slots.push(Slot {
                id: 0,
                phase: Phase::Vacant,
                is_async: false,
                bytes: 0,
                is_large: false,
                deadline: None,
                waker: None,
                outcome: None,
            });
            index
        })
    }

    /// The slot of a call, if the call is still there.
    #[inline]
    pub(crate) fn get(&mut self, id: u64) -> Option<&mut Slot> {
        let slot = self.slots.get_mut((id & INDEX_MASK) as usize)?;
        (slot.id == id && slot.phase != Phase::Vacant).then_some(slot)
    }

    /// A granted call is sent now. Ids only grow on the wire, so it gets a new one.
    pub(crate) fn send(&mut self, id: u64) -> Option<u64> {
        let next = (self.last + 1) << INDEX_BITS | id & INDEX_MASK;
        let slot = self.get(id)?;
        slot.id = next;
        slot.phase = Phase::Sent;
        let bytes = slot.bytes;
        self.granted_bytes -= bytes;
        self.last += 1;
        Some(next)
    }

    /// Frees the slot of a call and says how far the call had come. Whoever waits in line is next: see
    /// [`grant`](Self::grant).
    #[inline]
    pub(crate) fn leave(&mut self, id: u64) -> Option<(Phase, Option<Outcome>)> {
        let slot = self.get(id)?;
        let phase = std::mem::replace(&mut slot.phase, Phase::Vacant);
        let outcome = slot.outcome.take();
        slot.waker = None;
        slot.deadline = None;
        let (bytes, is_large) = (slot.bytes, slot.is_large);
        self.free.push((id & INDEX_MASK) as u32);
        match phase {
            Phase::Queued => self.line(is_large).gone(),
            Phase::Refused | Phase::Vacant => {}
            Phase::Granted | Phase::Sent | Phase::Accepted => {
                self.taken -= 1;
                if phase == Phase::Granted {
                    self.granted_bytes -= bytes;
                }
                if is_large {
                    self.window.leave(bytes, outcome.is_some());
                }
            }
        }
        Some((phase, outcome))
    }

    /// Frees the slot of a call that has its outcome, and hands that out; not of one that was accepted.
    #[inline]
    pub(crate) fn fetch(&mut self, id: u64) -> Option<Outcome> {
        let index = (id & INDEX_MASK) as usize;
        let slot = self.slots.get_mut(index).filter(|slot| slot.id == id && slot.outcome.is_some())?;
        match slot.phase {
            Phase::Accepted => return None,
            Phase::Refused => {}
            _ => {
                self.taken -= 1;
                if slot.is_large {
                    self.window.leave(slot.bytes, true);
                }
            }
        }
        slot.phase = Phase::Vacant;
        self.free.push(index as u32);
        slot.outcome.take()
    }

    /// The same for one that was accepted.
    pub(crate) fn fetch_accepted(&mut self, id: u64) -> Option<Outcome> {
        let slot = self.get(id)?;
        let outcome = slot.outcome.take()?;
        slot.phase = Phase::Vacant;
        self.free.push((id & INDEX_MASK) as u32);
        self.taken -= 1;
        Some(outcome)
    }

    fn line(&mut self, large: bool) -> &mut Line {
        if large { &mut self.large } else { &mut self.small }
    }

    /// Whether somebody waits for whom there is a slot; the window may still be closed to the large.
    #[inline]
    pub(crate) fn has_turn(&self) -> bool {
        self.small.waiting() + self.large.waiting() > 0 && self.taken < self.limit
    }

    /// Whether calls with large requests wait, and for nothing but the window.
    pub(crate) fn waits_for_window(&self) -> bool {
        self.large.waiting() > 0 && self.small.waiting() == 0 && self.taken < self.limit
    }

    /// Gives the first in line its turn, and returns its waker.
    pub(crate) fn grant(&mut self) -> Option<Waker> {
        if !self.has_turn() {
            return None;
        }
        let slots = &self.slots;
        let small = self.small.first(|id| waits(slots, id));
        let large = self.large.first(|id| waits(slots, id));
        let large = large.filter(|id| self.window.has_room(slots[(id & INDEX_MASK) as usize].bytes));
        let id = if self.large_next { large.or(small) } else { small.or(large) }?;
        let slot = &mut self.slots[(id & INDEX_MASK) as usize];
        slot.phase = Phase::Granted;
        let (waker, bytes, is_large) = (slot.waker.take(), slot.bytes, slot.is_large);
        self.granted_bytes += bytes;
        self.taken += 1;
        self.large_next = !is_large;
        self.line(is_large).gone();
        if is_large {
            self.window.enter(bytes);
        }
        waker
    }

    /// Sets the outcome of a call unless it has one; returns the waker of who waits for it.
    #[inline]
    pub(crate) fn complete(&mut self, id: u64, outcome: Outcome) -> Option<Waker> {
        let slot = self.get(id)?;
        if slot.outcome.is_none() {
            slot.outcome = Some(outcome);
            slot.deadline = None;
        }
        slot.waker.take()
    }

    /// Completes every call that `decide` gives an outcome for; collects the wakers.
    pub(crate) fn complete_where(
        &mut self,
        wakers: &mut Vec<Waker>,
        mut decide: impl FnMut(&Slot) -> Option<Outcome>,
    ) {
        for slot in self.slots.iter_mut().filter(|slot| slot.is_pending()) {
            if let Some(outcome) = decide(slot) {
                slot.settle(outcome, &mut self.small, &mut self.large);
                wakers.extend(slot.waker.take());
            }
        }
    }

    /// Ends the calls whose deadline has passed, with what `late` says of each; collects the wakers, and
    /// returns the ids of those that were sent.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        wakers: &mut Vec<Waker>,
        late: impl Fn(&Slot) -> Outcome,
    ) -> Vec<u64> {
        let mut sent = Vec::new();
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return sent;
        }
        let mut earliest = None::<Instant>;
        for slot in self.slots.iter_mut().filter(|slot| slot.is_pending()) {
            match slot.deadline {
                Some(deadline) if deadline <= now => {
                    if matches!(slot.phase, Phase::Sent | Phase::Accepted) {
                        sent.push(slot.id);
                    }
                    let outcome = late(slot);
                    slot.settle(outcome, &mut self.small, &mut self.large);
                    wakers.extend(slot.waker.take());
                }
                Some(deadline) => earliest = Some(earliest.map_or(deadline, |other| other.min(deadline))),
                None => {}
            }
        }
        // Each look visits every slot: with very many of them it is worth a few milliseconds to look less
        // often (100 000: 10 ms). With a thousand it is no delay that a timer could keep.
        let not_before = now + SWEEP_PER_SLOT * u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.earliest = earliest.map(|earliest| earliest.max(not_before));
        sent
    }

    /// Gives back what a burst has left, when nothing is outstanding.
    pub(crate) fn shrink(&mut self) {
        if self.is_idle() && self.slots.len() > KEPT_SLOTS && self.free.len() == self.slots.len() {
            // Ids go on from the last one: a late answer still meets nobody.
            self.slots = Vec::new();
            self.free = Vec::new();
            self.small.shrink();
            self.large.shrink();
        }
    }
}

impl Slot {
    /// Whether an answer for it can come.
    #[inline]
    pub(crate) fn awaits_answer(&self) -> bool {
        self.outcome.is_none() && matches!(self.phase, Phase::Sent | Phase::Accepted)
    }

    fn is_pending(&self) -> bool {
        self.outcome.is_none() && !matches!(self.phase, Phase::Vacant | Phase::Refused)
    }

    fn settle(&mut self, outcome: Outcome, small: &mut Line, large: &mut Line) {
        self.outcome = Some(outcome);
        self.deadline = None;
        if self.phase == Phase::Queued {
            self.phase = Phase::Refused;
            if self.is_large { large.gone() } else { small.gone() }
        }
    }
}

/// Whether the call of this id is still in line.
fn waits(slots: &[Slot], id: u64) -> bool {
    let slot = &slots[(id & INDEX_MASK) as usize];
    slot.id == id && slot.phase == Phase::Queued
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use towpath_core::ErrorKind;

    const PLAIN: Entering = Entering { bytes: 10, is_async: false, deadline: None };

    fn answer() -> Outcome {
        Ok(Response::new(bytes::Bytes::new()))
    }

    #[test]
    fn a_late_answer_meets_nobody() {
        let mut table = Table::new(4);
        let Some(Entry::Granted(first)) = table.enter(true, PLAIN, Waker::noop()) else { panic!() };
        table.leave(first);
        let Some(Entry::Granted(second)) = table.enter(true, PLAIN, Waker::noop()) else { panic!() };
        assert_eq!(first & INDEX_MASK, second & INDEX_MASK, "the slot is used again");
        assert!(second > first);
        assert!(table.complete(first, answer()).is_none());
        assert!(table.get(second).unwrap().outcome.is_none());
        assert!(table.complete(second, answer()).is_some());
    }

    #[test]
    fn deadlines_are_swept() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut table = Table::new(2);
        for ms in [30, 10, 20] {
            table.enter(true, Entering { deadline: Some(at(ms)), ..PLAIN }, Waker::noop());
        }
        assert_eq!(table.earliest(), Some(at(10)));
        let late = |_: &Slot| Err(Error::new(ErrorKind::DeadlineExceeded));
        let mut wakers = Vec::new();
        assert_eq!(table.expire(at(9), &mut wakers, late).len(), 0);
        // The third waits in line: it ends, but it was not sent.
        assert_eq!(table.expire(at(20), &mut wakers, late).len(), 1);
        assert_eq!(wakers.len(), 2);
        assert_eq!(table.earliest(), Some(at(30)));
        assert!(!table.has_turn());
    }

    #[test]
    fn a_burst_leaves_nothing_behind() {
        let mut table = Table::new(10_000);
        let ids: Vec<u64> = (0..5000)
            .map(|_| match table.enter(true, PLAIN, Waker::noop()).unwrap() {
                Entry::Granted(id) | Entry::Queued(id) => id,
            })
            .collect();
        table.shrink();
        assert_eq!(table.slots.len(), 5000, "not while they are outstanding");
        for id in &ids {
            table.leave(*id);
        }
        table.shrink();
        assert_eq!(table.slots.capacity(), 0);
        let Some(Entry::Granted(next)) = table.enter(true, PLAIN, Waker::noop()) else { panic!() };
        assert!(next > ids[4999], "ids still grow");
        assert!(table.complete(ids[0], answer()).is_none());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter,
        Leave(usize),
        Grant,
        Send(usize),
        Answer(usize),
        Stale,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Enter),
            2 => any::<usize>().prop_map(Step::Leave),
            2 => Just(Step::Grant),
            2 => any::<usize>().prop_map(Step::Send),
            2 => any::<usize>().prop_map(Step::Answer),
            1 => Just(Step::Stale),
        ]
    }

    proptest! {
        /// Against a map of ids: no slot is lost, none serves two calls, the limit holds, ids only grow,
        /// and those in line are served in order.
        #[test]
        fn the_table_is_a_map(steps in proptest::collection::vec(step(), 0..300), limit in 1usize..6) {
            let mut table = Table::new(limit);
            let mut calls: BTreeMap<u64, Phase> = BTreeMap::new();
            let (mut gone, mut highest) = (Vec::new(), 0u64);
            let pick = |calls: &BTreeMap<u64, Phase>, n: usize, phases: &[Phase]| {
                let fit: Vec<u64> = calls.iter().filter(|(_, p)| phases.contains(p)).map(|(id, _)| *id).collect();
                (!fit.is_empty()).then(|| fit[n % fit.len()])
            };
            use Phase::{Granted, Queued, Sent};
            for step in steps {
                match step {
                    Step::Enter => {
                        let (id, phase) = match table.enter(true, PLAIN, Waker::noop()).unwrap() {
                            Entry::Granted(id) => (id, Sent),
                            Entry::Queued(id) => (id, Queued),
                        };
                        // Nobody overtakes those in line, also where there is room for the first of them.
                        let taken = calls.values().filter(|p| **p != Queued).count();
                        let may_go = taken < limit && taken == calls.len();
                        prop_assert_eq!(phase, if may_go { Sent } else { Queued });
                        prop_assert!(id > highest);
                        highest = id;
                        prop_assert!(calls.insert(id, phase).is_none());
                    }
                    Step::Leave(n) => if let Some(id) = pick(&calls, n, &[Queued, Granted, Sent]) {
                        prop_assert_eq!(table.leave(id).unwrap().0, calls.remove(&id).unwrap());
                        gone.push(id);
                    },
                    Step::Grant => {
                        let granted = table.grant().is_some();
                        let first = calls.iter().find(|(_, p)| **p == Queued).map(|(id, _)| *id);
                        let room = calls.values().filter(|p| **p != Queued).count() < limit;
                        prop_assert_eq!(granted, room && first.is_some());
                        if granted {
                            calls.insert(first.unwrap(), Granted);
                        }
                    }
                    Step::Send(n) => if let Some(id) = pick(&calls, n, &[Granted]) {
                        let new = table.send(id).unwrap();
                        prop_assert!(new > highest);
                        highest = new;
                        calls.remove(&id);
                        gone.push(id);
                        calls.insert(new, Sent);
                    },
                    Step::Answer(n) => if let Some(id) = pick(&calls, n, &[Sent]) {
                        table.complete(id, answer());
                        prop_assert!(table.get(id).unwrap().outcome.is_some());
                        if n % 2 == 0 {
                            prop_assert!(table.fetch(id).is_some() && table.fetch(id).is_none());
                            calls.remove(&id);
                            gone.push(id);
                        }
                    },
                    Step::Stale => for id in &gone {
                        prop_assert!(table.complete(*id, answer()).is_none());
                    },
                }
                prop_assert_eq!(table.taken(), calls.values().filter(|p| **p != Queued).count());
                prop_assert!(table.taken() <= limit);
                prop_assert_eq!(table.granted_bytes(), 10 * calls.values().filter(|p| **p == Granted).count());
                for (id, phase) in &calls {
                    prop_assert_eq!(table.get(*id).unwrap().phase, *phase);
                }
            }
        }
    }
}
