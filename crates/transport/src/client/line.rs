//! Those who wait for room, in the order in which they came.

use std::collections::VecDeque;

/// Ids in line. Those whose call has gone meanwhile stay until somebody comes by: who that is, the table
/// knows.
#[derive(Debug, Default)]
pub(crate) struct Line {
    ids: VecDeque<u64>,
    /// How many of them still wait.
    waiting: usize,
}

impl Line {
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn join(&mut self, id: u64, waits: impl Fn(u64) -> bool) {
        self.waiting += 1;
        self.ids.push_back(id);
        if self.ids.len() > 2 * self.waiting + 64 {
            self.ids.retain(|id| waits(*id));
        }
    }

    /// One of them waits no longer.
    #[inline]
    pub(crate) fn gone(&mut self) {
        self.waiting -= 1;
    }

    /// The first who still waits.
    pub(crate) fn first(&mut self, waits: impl Fn(u64) -> bool) -> Option<u64> {
        while let Some(id) = self.ids.front().copied() {
            if waits(id) {
                return Some(id);
            }
            self.ids.pop_front();
        }
        None
    }

    /// Gives the memory of a burst back; nobody waits.
    pub(crate) fn shrink(&mut self) {
        self.ids = VecDeque::new();
    }
}
