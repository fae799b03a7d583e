//! The last calls of a kind, as many as there is room for.

use crate::view::Explanation;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The last so many; an older one makes room for a newer.
pub(super) struct Kept {
    room: usize,
    calls: Mutex<VecDeque<Arc<Explanation>>>,
}

impl Kept {
    pub(super) fn new(room: usize) -> Self {
        Kept { room, calls: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Explanation>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, call: Explanation) {
        let call = Arc::new(call);
        let oldest = {
            let mut calls = self.lock();
            let oldest = if calls.len() >= self.room { calls.pop_front() } else { None };
            calls.push_back(call);
            oldest
        };
        // Freed when others can go on.
        drop(oldest);
    }

    /// The last ones, the last first.
    pub(super) fn last(&self, most: usize) -> Vec<Arc<Explanation>> {
        self.lock().iter().rev().take(most).cloned().collect()
    }

    /// The last one of a trace.
    pub(super) fn find(&self, trace_id: &str) -> Option<Arc<Explanation>> {
        self.lock().iter().rev().find(|call| call.trace_id == trace_id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let kept = Kept::new(2);
        for id in ["a", "b", "c"] {
            kept.push(Explanation { trace_id: id.into(), ..Explanation::default() });
        }
        let ids: Vec<_> = kept.last(9).iter().map(|call| call.trace_id.clone()).collect();
        assert_eq!(ids, ["c", "b"]);
        assert!(kept.find("a").is_none());
        assert_eq!(kept.find("b").unwrap().trace_id, "b");
    }
}
