//! The connections of an exclusive pool.

use crate::{
    Connection, Ping,
    plan::Demand,
    queue::{Outcome, Queue, Ticket},
    store::{Aside, Counts, Entered, News, Standing, Store},
    sync::{Mutex, lock},
};
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;
use towpath_core::{Clock, Error};

/// The connections that nobody uses; the line of those who wait for one, be it given back or new.
pub(crate) struct Stock<C>(Mutex<Inner<C>>);

struct Inner<C> {
    /// The one that was used last is at the end, and is used next: so the others become idle. Empty while anybody waits.
    idle: Vec<Idle<C>>,
    line: Queue<Lent<C>>,
    /// How many are lent: to calls, to those whose turn has come, to the keeper.
    lent: usize,
    /// Those of them that are not to come back.
    recalled: Vec<u64>,
    /// Those that cannot be used again yet. They count as lent.
    tired: Vec<Lent<C>>,
    /// Those that came back and were of no more use.
    spent: Vec<u64>,
    can_grow: bool,
    /// What was lent before the store was cleared does not come back.
    era: u64,
}

/// A connection that belongs to one call, to one whose turn has come, or to the keeper.
pub(crate) struct Lent<C> {
    id: u64,
    era: u64,
    pub(super) connection: C,
}

#[cfg(test)]
impl<C> Lent<C> {
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

struct Idle<C> {
    lent: Lent<C>,
    since: Instant,
}

/// A connection that the keeper has, and since when nobody uses it.
pub(crate) struct Kept<C> {
    lent: Lent<C>,
    since: Option<Instant>,
}

impl<C: Connection> Inner<C> {
    /// Whether it is not to come back.
    fn forgot(&mut self, lent: &Lent<C>) -> bool {
        let recalled = self.recalled.iter().position(|id| *id == lent.id);
        if let Some(at) = recalled {
            self.recalled.swap_remove(at);
        }
        recalled.is_some() || lent.era != self.era
    }

    /// To the next in line, or to the others.
    fn hand_out(&mut self, lent: Lent<C>, since: Instant) -> Option<Waker> {
        match self.line.grant(lent) {
            Ok(waker) => {
                self.lent += 1;
                waker
            }
            Err(lent) => {
                self.idle.push(Idle { lent, since });
                None
            }
        }
    }
}

impl<C: Connection> Stock<C> {
    pub(crate) fn new() -> Self {
        Stock(Mutex::new(Inner {
            idle: Vec::new(),
            line: Queue::new(),
            lent: 0,
            recalled: Vec::new(),
            tired: Vec::new(),
            spent: Vec::new(),
            can_grow: true,
            era: 0,
        }))
    }

    /// Gives one back after a call. Answers with whether the keeper is to know.
    pub(super) fn give_back(&self, mut lent: Lent<C>) -> bool {
        match lent.connection.poll_idle(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(true) => self.offer(lent, None),
            Poll::Ready(false) => {
                let mut inner = lock(&self.0);
                inner.lent -= 1;
                if !inner.forgot(&lent) {
                    inner.spent.push(lent.id);
                }
                drop(inner);
                drop(lent);
                return true;
            }
            Poll::Pending => {
                let mut inner = lock(&self.0);
                if !inner.forgot(&lent) {
                    inner.tired.push(lent);
                    return true;
                }
                inner.lent -= 1;
                drop(inner);
                drop(lent);
            }
        }
        false
    }

    /// One that was lent can be used again.
    fn offer(&self, lent: Lent<C>, since: Option<Instant>) {
        let since = since.unwrap_or_else(Clock::now);
        let mut inner = lock(&self.0);
        inner.lent -= 1;
        if inner.forgot(&lent) {
            drop(inner);
            lent.connection.close();
            return;
        }
        let waker = inner.hand_out(lent, since);
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    fn take_idle(&self, id: u64) -> Option<Idle<C>> {
        let mut inner = lock(&self.0);
        let at = inner.idle.iter().position(|idle| idle.lent.id == id)?;
        inner.lent += 1;
        Some(inner.idle.remove(at))
    }
}

impl<C: Connection> Store for Stock<C> {
    type Connection = C;
    type Grant = Lent<C>;
    type Aside = Kept<C>;

    fn enter(&self, most: u32, impatient: bool) -> Entered<Lent<C>> {
        loop {
            let mut inner = lock(&self.0);
            if let Some(Idle { lent, .. }) = inner.idle.pop() {
                inner.lent += 1;
                drop(inner);
                if lent.connection.is_closing() {
                    // Its keeper hears of its end as well.
                    self.give_back(lent);
                    continue;
                }
                return Entered::Got(lent);
            }
            if inner.line.waiting() >= most {
                return Entered::Full;
            }
            return Entered::Waits { ticket: inner.line.join(impatient), tell: inner.can_grow };
        }
    }

    fn poll(&self, ticket: &Ticket, waker: &Waker) -> Option<Outcome<Lent<C>>> {
        let polled = lock(&self.0).line.poll(ticket, waker);
        polled.ok()
    }

    fn leave(&self, ticket: &Ticket) {
        let (granted, waker) = lock(&self.0).line.leave(ticket);
        drop(waker);
        if let Some(lent) = granted {
            self.offer(lent, None);
        }
    }

    fn put(&self, id: u64, connection: C, now: Instant) {
        let mut inner = lock(&self.0);
        let lent = Lent { id, era: inner.era, connection };
        let waker = inner.hand_out(lent, now);
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    fn remove(&self, id: u64) {
        let mut inner = lock(&self.0);
        let idle = inner.idle.iter().position(|idle| idle.lent.id == id);
        let tired = inner.tired.iter().position(|lent| lent.id == id);
        let spent = inner.spent.iter().position(|spent| *spent == id);
        let lent = match (idle, tired, spent) {
            (Some(at), ..) => inner.idle.remove(at).lent,
            (_, Some(at), _) => {
                inner.lent -= 1;
                inner.tired.remove(at)
            }
            (.., Some(at)) => {
                inner.spent.remove(at);
                return;
            }
            _ => {
                inner.recalled.push(id);
                return;
            }
        };
        drop(inner);
        lent.connection.close();
    }

    fn clear(&self) {
        let mut inner = lock(&self.0);
        inner.era += 1;
        inner.lent -= inner.tired.len();
        let (idle, tired) = (std::mem::take(&mut inner.idle), std::mem::take(&mut inner.tired));
        inner.recalled.clear();
        inner.spent.clear();
        inner.can_grow = true;
        let wakers = inner.line.wake_all();
        drop(inner);
        for lent in idle.into_iter().map(|idle| idle.lent).chain(tired) {
            lent.connection.close();
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    fn connect_failed(&self, error: &Error) {
        let wakers = lock(&self.0).line.fail_impatient(error);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn demand(&self) -> Demand {
        let inner = lock(&self.0);
        let mut unused: Vec<_> = inner.idle.iter().map(|idle| (idle.lent.id, Some(idle.since))).collect();
        let more = inner.line.waiting();
        drop(inner);
        unused.sort_unstable_by_key(|(id, _)| *id);
        Demand { more, unused, ..Demand::default() }
    }

    fn publish(&self, standing: Standing) -> bool {
        let mut inner = lock(&self.0);
        let before = std::mem::replace(&mut inner.can_grow, standing.can_grow);
        standing.can_grow && !before && inner.line.waiting() > 0
    }

    fn ask(&self, id: u64) -> Option<(Ping, Kept<C>)> {
        let Idle { lent, since } = self.take_idle(id)?;
        let ping = lent.connection.ping();
        let kept = Kept { lent, since: Some(since) };
        match ping {
            Some(ping) => Some((ping, kept)),
            None => {
                self.put_back(kept);
                None
            }
        }
    }

    fn put_back(&self, aside: Kept<C>) {
        self.offer(aside.lent, aside.since);
    }

    fn discard(&self, aside: Kept<C>) {
        let mut inner = lock(&self.0);
        inner.lent -= 1;
        inner.forgot(&aside.lent);
        drop(inner);
        aside.lent.connection.close();
    }

    fn news(&self) -> News<Kept<C>> {
        let mut inner = lock(&self.0);
        let (tired, spent) = (std::mem::take(&mut inner.tired), std::mem::take(&mut inner.spent));
        drop(inner);
        News { tired: tired.into_iter().map(|lent| Kept { lent, since: None }).collect(), spent }
    }

    fn counts(&self) -> Counts {
        let inner = lock(&self.0);
        Counts { waiting: inner.line.waiting(), idle: inner.idle.len() as u32, in_flight: inner.lent }
    }
}

impl<C: Connection> Aside for Kept<C> {
    fn id(&self) -> u64 {
        self.lent.id
    }

    fn poll_rested(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.lent.connection.poll_idle(cx)
    }
}
