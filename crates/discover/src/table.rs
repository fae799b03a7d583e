//! What a source has said so far, taken together.

use crate::{Instance, Update};
use std::{collections::BTreeMap, sync::Arc};

/// All instances, by the source's own names for them.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// With the order in which they came: of two with one address the later one counts.
    by_key: BTreeMap<Arc<str>, (u64, Instance)>,
    next: u64,
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
        match update {
            Update::Unchanged => {}
            Update::Full(instances) => {
                let before = std::mem::take(&mut self.by_key);
                self.insert(instances, max, &mut applied);
                let same = |known: &(u64, Instance)| {
                    before.get(known.1.key()).is_some_and(|before| before.1 == known.1)
                };
                applied.changed = before.len() != self.by_key.len() || !self.by_key.values().all(same);
            }
            Update::Delta { changed, removed } => {
                for key in removed {
                    applied.changed |= self.by_key.remove(&key).is_some();
                }
                self.insert(changed, max, &mut applied);
            }
        }
        applied
    }

    fn insert(&mut self, instances: Vec<Instance>, max: usize, applied: &mut Applied) {
        for instance in instances {
            let known = self.by_key.get(instance.key());
            let refusal = match instance.check() {
                Err(invalid) => Some(invalid.to_string()),
                Ok(()) if known.is_none() && self.by_key.len() >= max => {
                    Some(format!("max_endpoints: there are more than {max}"))
                }
                Ok(()) => None,
            };
            match (refusal, known) {
                (Some(why), _) => applied.refused.get_or_insert((0, why)).0 += 1,
                (None, Some((_, known))) if *known == instance => {}
                (None, _) => {
                    applied.changed = true;
                    self.by_key.insert(instance.key().clone(), (self.next, instance));
                    self.next += 1;
                }
            }
        }
    }

    /// What is at each address.
    pub(crate) fn by_address(&self) -> BTreeMap<&Arc<str>, &Instance> {
        let mut found: BTreeMap<&Arc<str>, (u64, &Instance)> = BTreeMap::new();
        for (order, instance) in self.by_key.values() {
            let place = found.entry(instance.address()).or_insert((*order, instance));
            if place.0 <= *order {
                *place = (*order, instance);
            }
        }
        found.into_iter().map(|(address, (_, instance))| (address, instance)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(addresses: &[&str]) -> Update {
        Update::Full(addresses.iter().map(|address| Instance::new(*address)).collect())
    }

    fn addresses(table: &Table) -> Vec<&str> {
        table.by_address().into_keys().map(|address| &**address).collect()
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
        assert_eq!(table.by_address().into_values().collect::<Vec<_>>(), [&new]);
        table.apply(Update::Delta { changed: vec![], removed: vec!["1".into()] }, 9);
        assert_eq!(addresses(&table), ["a"], "the one that is left is still there");
        table.apply(Update::Full(vec![new, old.clone()]), 9);
        assert_eq!(table.by_address().into_values().collect::<Vec<_>>(), [&old]);
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
}
