//! The stacks that one clone of the service keeps, so that a call need not clone one.

use crate::gauge::{Arena, Key};

/// Stacks of endpoints, each with the endpoint's key. Not shared, and not cloned with the service. A clone that is made
/// for one call has one stack, in itself; for more of them there is a table.
pub(crate) struct Stacks<S> {
    first: Option<Kept<S>>,
    /// Each at the lowest bits of its slot, in place of another one it may be. Empty at first; then `first` is.
    table: Box<[Option<Kept<S>>]>,
}

/// A stack that is kept.
pub(crate) struct Kept<S> {
    key: Key,
    /// If it is found so, its use has ended in a panic, and it is made anew.
    pub(crate) in_use: bool,
    pub(crate) stack: S,
}

/// So many are kept at most: who calls more endpoints clones a stack now and then.
const MOST: usize = 1024;

impl<S> Stacks<S> {
    pub(crate) fn new() -> Self {
        Stacks { first: None, table: Box::default() }
    }

    /// The place of an endpoint's stack, which is made if it is not there. There are `endpoints` of them.
    #[inline]
    pub(crate) fn of(&mut self, key: Key, endpoints: usize, make: impl FnOnce() -> S) -> &mut Kept<S> {
        if !self.get(key).is_some_and(|kept| kept.key == key && !kept.in_use) {
            return self.fill(key, endpoints, make);
        }
        let place = match self.table.len() {
            0 => &mut self.first,
            len => &mut self.table[key.slot as usize & (len - 1)],
        };
        match place {
            Some(kept) => kept,
            // It was there just now.
            place => place.insert(Kept { key, in_use: false, stack: make() }),
        }
    }

    #[inline]
    fn get(&self, key: Key) -> Option<&Kept<S>> {
        match self.table.len() {
            0 => self.first.as_ref(),
            len => self.table[key.slot as usize & (len - 1)].as_ref(),
        }
    }

    #[cold]
    fn fill(&mut self, key: Key, endpoints: usize, make: impl FnOnce() -> S) -> &mut Kept<S> {
        if self.get(key).is_some_and(|kept| kept.key != key) && self.table.len() < endpoints.min(MOST) {
            self.grow(endpoints);
        }
        let place = match self.table.len() {
            0 => &mut self.first,
            len => &mut self.table[key.slot as usize & (len - 1)],
        };
        place.insert(Kept { key, in_use: false, stack: make() })
    }

    /// Takes an endpoint's stack out.
    pub(crate) fn take(&mut self, key: Key) -> Option<S> {
        let place = match self.table.len() {
            0 => &mut self.first,
            len => &mut self.table[key.slot as usize & (len - 1)],
        };
        place.take_if(|kept| kept.key == key).map(|kept| kept.stack)
    }

    /// Makes room for as many as there are endpoints.
    #[cold]
    fn grow(&mut self, endpoints: usize) {
        let size = endpoints.next_power_of_two().clamp(8, MOST);
        let mut table: Box<[Option<Kept<S>>]> = (0..size).map(|_| None).collect();
        let kept = std::mem::take(&mut self.table).into_iter().flatten().chain(self.first.take());
        for kept in kept {
            let place = kept.key.slot as usize & (size - 1);
            table[place] = Some(kept);
        }
        self.table = table;
    }

    /// Drops those whose endpoints are no more.
    pub(crate) fn sweep(&mut self, arena: &Arena) {
        for place in self.table.iter_mut().chain([&mut self.first]) {
            if place.as_ref().is_some_and(|kept| arena.at(kept.key.slot).is_over(kept.key.generation)) {
                *place = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32, generation: u16) -> Key {
        Key { slot, generation }
    }

    fn take(stacks: &mut Stacks<u32>, key: Key, made: u32) -> u32 {
        stacks.of(key, 100, || made).stack
    }

    #[test]
    fn a_stack_is_made_once_for_each_key() {
        let mut stacks = Stacks::new();
        assert_eq!([take(&mut stacks, key(7, 0), 1), take(&mut stacks, key(7, 0), 2)], [1, 1]);
        assert!(stacks.table.is_empty(), "one needs no table");
        assert_eq!([take(&mut stacks, key(8, 0), 3), take(&mut stacks, key(7, 0), 4)], [3, 1]);
        assert_eq!(take(&mut stacks, key(7, 1), 5), 5, "the next life");
        assert_eq!(take(&mut stacks, key(7, 0), 6), 6);
        assert_eq!(take(&mut stacks, key(7 + 128, 0), 7), 7);
        assert_eq!((stacks.table.len(), take(&mut stacks, key(8, 0), 8)), (128, 3));
    }

    #[test]
    fn it_grows_with_the_fleet() {
        let mut stacks = Stacks::new();
        for slot in 0..3 {
            stacks.of(key(slot, 0), 3, || slot);
        }
        assert_eq!(stacks.table.len(), 8);
        for slot in 0..3_000 {
            stacks.of(key(slot, 0), 3_000, || slot);
        }
        assert_eq!(stacks.table.len(), MOST);
    }

    #[test]
    fn one_that_panicked_is_made_anew() {
        let mut stacks = Stacks::new();
        stacks.of(key(1, 0), 1, || 1).in_use = true;
        assert_eq!(take(&mut stacks, key(1, 0), 2), 2);
    }

    #[test]
    fn one_that_was_taken_is_made_anew() {
        let mut stacks = Stacks::new();
        take(&mut stacks, key(1, 0), 1);
        assert_eq!((stacks.take(key(1, 1)), stacks.take(key(1, 0))), (None, Some(1)));
        assert_eq!([take(&mut stacks, key(1, 0), 2), take(&mut stacks, key(2, 0), 3)], [2, 3]);
        assert_eq!((stacks.take(key(2, 0)), stacks.take(key(2, 0))), (Some(3), None));
    }

    #[test]
    fn what_is_gone_is_dropped() {
        let arena = Arena::new();
        let keys = [arena.take().unwrap(), arena.take().unwrap()];
        let mut stacks = Stacks::new();
        let _ = keys.map(|key| take(&mut stacks, key, 1));
        assert!(arena.give_back(keys[0]));
        stacks.sweep(&arena);
        assert_eq!(keys.map(|key| take(&mut stacks, key, 2)), [2, 1]);
    }
}
