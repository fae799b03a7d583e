//! What was told of as it happened: exact in time, and not lost if it is over before somebody looks.

use crate::text::{now_ms, plain};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use towpath_balance::BalanceEvent;
use towpath_breaker::{BreakerEvent, Counts, Reason, State};

/// So many wait for the next look; who looks more seldom misses the oldest.
const MOST: usize = 256;

/// Something that has happened, and when.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) at_ms: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A breaker has opened or closed by itself; it was its change of this number.
    Breaker { name: String, open: bool, number: u64, counts: Counts },
    /// An endpoint is out, or is back.
    Ejected { id: u64, address: String, out: bool },
    /// So few are well that all get calls; or that is over.
    Panic(bool),
}

/// The last of it. Each who looks says up to where it has read.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    /// How many there have been.
    count: u64,
    last: VecDeque<Happened>,
}

impl Heard {
    /// What has come since so many, and how many there have been.
    pub(crate) fn since(&self, read: u64) -> (Vec<Happened>, u64) {
        let ring = self.lock();
        let new = ring.count.saturating_sub(read).min(ring.last.len() as u64) as usize;
        (ring.last.range(ring.last.len() - new..).cloned().collect(), ring.count)
    }

    #[cold]
    fn push(&self, what: What) {
        let mut ring = self.lock();
        if ring.last.len() >= MOST {
            ring.last.pop_front();
        }
        ring.last.push_back(Happened { at_ms: now_ms(), what });
        ring.count += 1;
    }

    /// Calls that are turned away are counted elsewhere, and what is done by hand is seen as a mode.
    pub(super) fn breaker(&self, event: &BreakerEvent) {
        let BreakerEvent::Changed(change) = event else { return };
        let open = match change.to {
            _ if change.reason == Reason::Forced => return,
            // To try calls, and to open again when they fail, is no news: it is open all the while.
            State::HalfOpen => return,
            State::Open => true,
            State::Closed => false,
        };
        let name = plain(&change.name);
        self.push(What::Breaker { name, open, number: change.number, counts: change.counts });
    }

    pub(super) fn balance(&self, event: &BalanceEvent) {
        let ejected = |endpoint: &towpath_core::Endpoint, out| What::Ejected {
            id: endpoint.id().0,
            address: plain(endpoint.address()),
            out,
        };
        self.push(match event {
            BalanceEvent::Ejected { endpoint, .. } => ejected(endpoint, true),
            BalanceEvent::Returned(endpoint) => ejected(endpoint, false),
            BalanceEvent::PanicBegan(_) => What::Panic(true),
            BalanceEvent::PanicEnded(_) => What::Panic(false),
            _ => return,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_end_to_it_and_each_reads_for_itself() {
        let heard = Heard::default();
        assert_eq!(heard.since(0).1, 0);
        for n in 0..3 {
            heard.push(What::Panic(n % 2 == 0));
        }
        let (all, read) = heard.since(0);
        assert_eq!((all.len(), read, heard.since(2).0.len(), heard.since(3).0.len()), (3, 3, 1, 0));
        for _ in 0..1_000 {
            heard.push(What::Panic(true));
        }
        assert_eq!((heard.since(0).0.len(), heard.since(1_000).0.len()), (MOST, 3));
    }
}
