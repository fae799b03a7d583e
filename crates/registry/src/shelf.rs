//! The instances of one service, and what has changed since when.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use towpath_discover::Instance;

/// How many removals are remembered; who is further behind gets the whole list.
const REMEMBERED: usize = 1_024;

/// The instances of one service. Changes are numbered by whoever makes them, with numbers that grow.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Who changed last at which number; each entry is there once.
    order: BTreeMap<u64, Arc<str>>,
    /// Who went at which number, the oldest first.
    gone: VecDeque<(u64, Arc<str>)>,
    /// What changed up to here is not remembered.
    floor: u64,
    last: u64,
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) instance: Instance,
    pub(crate) lease: u128,
    changed: u64,
}

/// What is different since a number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Since {
    Nothing,
    Some {
        changed: Vec<Instance>,
        removed: Vec<Arc<str>>,
    },
    /// It is not remembered that far back.
    All,
}

impl Shelf {
    pub(crate) fn new(floor: u64) -> Self {
        Shelf { floor, last: floor, ..Shelf::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of the last change.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// How many bytes it would have if this were taken, too.
    pub(crate) fn bytes_with(&self, instance: &Instance) -> usize {
        let replaced = self.entries.get(instance.key()).map_or(0, |entry| size(&entry.instance));
        self.bytes - replaced + size(instance)
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(crate) fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.entries.values().map(|entry| &entry.instance)
    }

    /// Somebody else has the lease of an instance now; what it says is the same.
    pub(crate) fn set_lease(&mut self, id: &str, lease: u128) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.lease = lease;
        }
    }

    pub(crate) fn put(&mut self, instance: Instance, lease: u128, number: u64) {
        self.bytes = self.bytes_with(&instance);
        let id = instance.key().clone();
        let entry = Entry { instance, lease, changed: number };
        if let Some(before) = self.entries.insert(id.clone(), entry) {
            self.order.remove(&before.changed);
        }
        self.order.insert(number, id);
        self.last = number;
    }

    pub(crate) fn remove(&mut self, id: &str, number: u64) -> Option<Instance> {
        let (id, entry) = self.entries.remove_entry(id)?;
        self.order.remove(&entry.changed);
        self.bytes -= size(&entry.instance);
        self.last = number;
        self.gone.push_back((number, id));
        while self.gone.len() > REMEMBERED {
            if let Some((number, _)) = self.gone.pop_front() {
                self.floor = number;
            }
        }
        Some(entry.instance)
    }

    /// What is different since then.
    pub(crate) fn since(&self, number: u64) -> Since {
        if number >= self.last {
            return Since::Nothing;
        }
        if number < self.floor {
            return Since::All;
        }
        let changed = self.order.range(number + 1..).filter_map(|(_, id)| self.entries.get(id));
        // Who came back is there, whatever it did between.
        let mut removed: Vec<_> = (self.gone.iter().rev())
            .take_while(|(gone, _)| *gone > number)
            .filter(|(_, id)| !self.entries.contains_key(id))
            .map(|(_, id)| id.clone())
            .collect();
        removed.sort_unstable();
        removed.dedup();
        Since::Some { changed: changed.map(|entry| entry.instance.clone()).collect(), removed }
    }
}

/// About what an instance takes in an answer.
fn size(instance: &Instance) -> usize {
    let labels: usize = instance.labels().map(|(name, value)| name.len() + value.len() + 6).sum();
    let zone = instance.zone().map_or(0, |zone| zone.len());
    128 + instance.key().len() + instance.address().len() + zone + labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn who_is_too_far_behind_gets_everything() {
        let mut shelf = Shelf::new(5);
        assert_eq!((shelf.since(5), shelf.since(4)), (Since::Nothing, Since::All));
        for n in 0..=REMEMBERED as u64 {
            shelf.put(Instance::new("a"), 1, 6 + 2 * n);
            shelf.remove("a", 7 + 2 * n);
        }
        assert_eq!((shelf.gone.len(), shelf.bytes, shelf.order.len()), (REMEMBERED, 0, 0));
        assert_eq!(shelf.since(6), Since::All);
        assert_eq!(shelf.since(7), Since::Some { changed: vec![], removed: vec!["a".into()] });
    }

    proptest! {
        /// A copy that is brought up to date now and then, by the changes alone, is the shelf.
        #[test]
        fn who_follows_has_everything(
            steps in proptest::collection::vec((0u8..6, 0u32..3, any::<bool>()), 1..60),
            forget in any::<bool>(),
        ) {
            let mut shelf = Shelf::new(0);
            let (mut copy, mut at) = (BTreeMap::new(), 0);
            for (number, (id, what, look)) in steps.into_iter().enumerate() {
                let number = number as u64 + 1;
                match what {
                    0 => drop(shelf.remove(&id.to_string(), number)),
                    weight => shelf.put(Instance::new(id.to_string()).with_weight(weight), 1, number),
                }
                let bytes: usize = shelf.instances().map(size).sum();
                prop_assert_eq!((shelf.bytes, shelf.order.len()), (bytes, shelf.len()));
                if !look {
                    continue;
                }
                if forget {
                    shelf.floor = number.saturating_sub(4);
                }
                match shelf.since(at) {
                    Since::Nothing => {}
                    Since::All => {
                        prop_assert!(at < shelf.floor);
                        copy = shelf.instances().map(|one| (one.key().clone(), one.clone())).collect();
                    }
                    Since::Some { changed, removed } => {
                        let ids: BTreeSet<_> = changed.iter().map(|one| one.key()).chain(&removed).collect();
                        prop_assert_eq!(ids.len(), changed.len() + removed.len(), "each is named once");
                        removed.iter().for_each(|id| drop(copy.remove(id)));
                        copy.extend(changed.into_iter().map(|one| (one.key().clone(), one)));
                    }
                }
                at = number;
                prop_assert!(copy.values().eq(shelf.instances()));
            }
        }
    }
}
