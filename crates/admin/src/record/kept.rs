//! The last calls of a kind, as many as there is room for.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The last so many; an older one makes room for a newer.
pub(super) struct Kept<T> {
    room: usize,
    calls: Mutex<VecDeque<T>>,
}

impl<T> Kept<T> {
    pub(super) fn new(room: usize) -> Self {
        Kept { room, calls: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it; what is returned made room for it, and is dropped when others can go on.
    pub(super) fn push(&self, call: T) -> Option<T> {
        let mut calls = self.lock();
        let oldest = if calls.len() >= self.room { calls.pop_front() } else { None };
        calls.push_back(call);
        oldest
    }

    /// The last ones, the last first.
    pub(super) fn last<R>(&self, most: usize, say: impl Fn(&T) -> R) -> Vec<R> {
        self.lock().iter().rev().take(most).map(say).collect()
    }

    /// The last one of which this is true.
    pub(super) fn find<R>(&self, is: impl Fn(&T) -> bool, say: impl FnOnce(&T) -> R) -> Option<R> {
        self.lock().iter().rev().find(|call| is(call)).map(say)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let kept = Kept::new(2);
        let gone: Vec<_> = ["a", "b", "c"].into_iter().filter_map(|id| kept.push(id)).collect();
        assert_eq!((gone, kept.last(9, |id| *id)), (vec!["a"], vec!["c", "b"]));
        assert!(kept.find(|id| *id == "a", |id| *id).is_none());
        assert_eq!(kept.find(|id| *id == "b", |id| *id), Some("b"));
    }
}
