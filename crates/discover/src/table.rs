//! What a source has said so far, taken together.

use crate::{Instance, Update};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// All instances, by the source's own names for them; and at which addresses something is different since that was
/// asked last.
#[derive(Debug, Default)]
pub(crate) struct Table {
    by_key: HashMap<Arc<str>, Entry>,
    /// The keys at each address: one, most often.
    by_address: HashMap<Arc<str>, Vec<Arc<str>>>,
    changed: HashSet<Arc<str>>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    /// In which order they came: of two with one address the later one counts.
    order: u64,
    instance: Instance,
}

/// What came of an update.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Whether anything is different from before.
    pub(crate) changed: bool,
    /// How many instances were not taken, and why the first was not.
    pub(crate) refused: Option<(usize, String)>,
}

impl Table {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Takes an update: at most `max` instances, and none that is out of bounds.
    pub(crate) fn apply(&mut self, update: Update, max: usize) -> Applied {
        let mut applied = Applied::default();
        let begin = self.next;
        match update {
            Update::Unchanged => {}
            Update::Full(instances) => {
                // Those that are named have a number from here on; only they count.
                let mut named = 0;
                for instance in instances {
                    let again = self.by_key.get(instance.key()).is_some_and(|known| known.order >= begin);
                    if self.insert(instance, again || named < max, max, &mut applied) && !again {
                        named += 1;
                    }
                }
                let gone = self.by_key.iter().filter(|(_, entry)| entry.order < begin);
                for key in gone.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
                    applied.changed |= self.remove(&key);
                }
            }
            Update::Delta { changed, removed } => {
                for key in removed {
                    applied.changed |= self.remove(&key);
                }
                for instance in changed {
                    let room = self.by_key.contains_key(instance.key()) || self.by_key.len() < max;
                    self.insert(instance, room, max, &mut applied);
                }
            }
        }
        applied
    }

    /// Says whether it was taken.
    fn insert(&mut self, instance: Instance, room: bool, max: usize, applied: &mut Applied) -> bool {
        let refusal = match instance.check() {
            Err(invalid) => Some(invalid.to_string()),
            Ok(()) if !room => Some(format!("max_endpoints: there are more than {max}")),
            Ok(()) => None,
        };
        if let Some(why) = refusal {
            applied.refused.get_or_insert((0, why)).0 += 1;
            return false;
        }
        let order = self.next;
        self.next += 1;
        if let Some(known) = self.by_key.get_mut(instance.key()) {
            if known.instance == instance {
                known.order = order;
                let address = instance.address();
                // Which of them describes the address may be another one now.
                if self.by_address.get(address).is_some_and(|keys| keys.len() > 1) {
                    self.changed.insert(address.clone());
                    applied.changed = true;
                }
                return true;
            }
            let key = instance.key().clone();
            self.remove(&key);
        }
        applied.changed = true;
        let (key, address) = (instance.key().clone(), instance.address().clone());
        self.by_address.entry(address.clone()).or_default().push(key.clone());
        self.changed.insert(address);
        self.by_key.insert(key, Entry { order, instance });
        true
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some((key, entry)) = self.by_key.remove_entry(key) else { return false };
        let address = entry.instance.address();
        if let Some(keys) = self.by_address.get_mut(address) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_address.remove(address);
            }
        }
        self.changed.insert(address.clone());
        true
    }

    /// The addresses at which something is different since this was asked last, or was for a while.
    pub(crate) fn take_changed(&mut self) -> HashSet<Arc<str>> {
        std::mem::take(&mut self.changed)
    }

    /// What is at an address.
    pub(crate) fn at(&self, address: &str) -> Option<&Instance> {
        let entries = self.by_address.get(address)?.iter().filter_map(|key| self.by_key.get(key));
        entries.max_by_key(|entry| entry.order).map(|entry| &entry.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full(addresses: &[&str]) -> Update {
        Update::Full(addresses.iter().map(|address| Instance::new(*address)).collect())
    }

    fn addresses(table: &Table) -> Vec<&str> {
        let mut addresses: Vec<&str> = table.by_address.keys().map(|address| &**address).collect();
        addresses.sort_unstable();
        addresses
    }

    #[test]
    fn full_lists_and_deltas_come_to_the_same() {
        let mut table = Table::default();
        assert!(table.apply(full(&["a", "b"]), 9).changed);
        assert!(!table.apply(full(&["b", "a"]), 9).changed, "the order of a list says nothing");
        let delta =
            Update::Delta { changed: vec![Instance::new("c")], removed: vec!["a".into(), "x".into()] };
        assert!(table.apply(delta.clone(), 9).changed && !table.apply(delta, 9).changed);
        assert_eq!(addresses(&table), ["b", "c"]);
        assert!(!table.apply(Update::Unchanged, 9).changed);
        assert!(table.apply(full(&[]), 9).changed && table.is_empty());
    }

    #[test]
    fn of_two_with_one_address_the_later_one_counts() {
        let mut table = Table::default();
        let old = Instance::new("a").with_key("1").with_draining(true);
        let new = Instance::new("a").with_key("2");
        table.apply(Update::Delta { changed: vec![old.clone(), new.clone()], removed: vec![] }, 9);
        assert_eq!(table.at("a"), Some(&new));
        table.apply(Update::Delta { changed: vec![], removed: vec!["1".into()] }, 9);
        assert_eq!(addresses(&table), ["a"], "the one that is left is still there");
        table.apply(Update::Full(vec![new, old.clone()]), 9);
        assert_eq!(table.at("a"), Some(&old));
    }

    #[test]
    fn what_is_out_of_bounds_is_counted() {
        let mut table = Table::default();
        let (refused, why) = table.apply(full(&["a", "", "b", "c", "d"]), 2).refused.unwrap();
        assert_eq!((refused, why.contains("empty")), (3, true), "{why}");
        assert_eq!(addresses(&table), ["a", "b"]);
        let delta = |address: &str| Update::Delta {
            changed: vec![Instance::new(address).with_weight(2)],
            removed: vec![],
        };
        assert_eq!(table.apply(delta("b"), 2).refused, None, "what is known may change");
        assert!(table.apply(delta("e"), 2).refused.unwrap().1.starts_with("max_endpoints"));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Full(Vec<(u8, u8, u32)>),
        Delta(Vec<(u8, u8, u32)>, Vec<u8>),
        Look,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let some = || proptest::collection::vec((0u8..5, 0u8..3, 0u32..3), 0..7);
        let step = prop_oneof![
            some().prop_map(Step::Full),
            (some(), proptest::collection::vec(0u8..5, 0..3))
                .prop_map(|(some, gone)| Step::Delta(some, gone)),
            Just(Step::Look),
        ];
        proptest::collection::vec(step, 1..20)
    }

    fn instances(some: &[(u8, u8, u32)]) -> Vec<Instance> {
        let instance = |(key, address, weight): &(u8, u8, u32)| {
            Instance::new(format!("a{address}")).with_key(key.to_string()).with_weight(*weight)
        };
        some.iter().map(instance).collect()
    }

    proptest! {
        /// Beside a list to which whatever is said is appended.
        #[test]
        fn it_is_a_list_of_which_the_last_word_counts(steps in steps()) {
            const MAX: usize = 4;
            let (mut table, mut list) = (Table::default(), Vec::<Instance>::new());
            let mut seen: HashMap<String, Option<Instance>> = HashMap::new();
            for step in steps {
                let (update, full, some, gone) = match step {
                    Step::Look => {
                        for address in table.take_changed() {
                            seen.insert(address.to_string(), table.at(&address).cloned());
                        }
                        for address in ["a0", "a1", "a2"] {
                            let wanted = list.iter().rfind(|one| &**one.address() == address);
                            prop_assert_eq!(table.at(address), wanted);
                            prop_assert_eq!(seen.get(address).and_then(Option::as_ref), wanted, "not told");
                        }
                        continue;
                    }
                    Step::Full(some) => {
                        let some = instances(&some);
                        (Update::Full(some.clone()), true, some, vec![])
                    }
                    Step::Delta(some, gone) => {
                        let some = instances(&some);
                        let removed = gone.iter().map(|key| key.to_string().into()).collect();
                        (Update::Delta { changed: some.clone(), removed }, false, some, gone)
                    }
                };
                let refused = table.apply(update, MAX).refused.map_or(0, |(count, _)| count);
                let mut expected = 0;
                list.retain(|one| !full && !gone.iter().any(|key| key.to_string() == **one.key()));
                for instance in some {
                    let at = list.iter().position(|one| one.key() == instance.key());
                    if at.is_none() && list.len() >= MAX {
                        expected += 1;
                        continue;
                    }
                    at.map(|at| list.remove(at));
                    list.push(instance);
                }
                prop_assert_eq!(refused, expected);
                prop_assert_eq!(table.by_key.len(), list.len());
                prop_assert_eq!(table.is_empty(), list.is_empty());
            }
        }
    }
}
