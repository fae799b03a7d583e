//! A set of endpoints at one moment, and how to get from one to another.

use std::collections::{BTreeSet, VecDeque};
use towpath_core::{Change, Endpoint, EndpointId};

/// The endpoints of one name at one moment, as the source describes them. Their state is nobody's: each
/// [`Watch`](crate::Watch) tells of endpoints of its own.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    version: u64,
    settled: bool,
    /// Sorted by id.
    endpoints: Vec<Endpoint>,
    draining: BTreeSet<EndpointId>,
}

impl Snapshot {
    /// Of endpoints that are sorted by id.
    pub(crate) fn new(version: u64, endpoints: Vec<Endpoint>, draining: BTreeSet<EndpointId>) -> Self {
        Snapshot { version, settled: true, endpoints, draining }
    }

    /// How often the set has changed: 0 before anything is known.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether anything is known: until then, an empty set means nothing.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// The endpoints, by id.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Whether the source says that one takes nothing new.
    pub fn is_draining(&self, id: EndpointId) -> bool {
        self.draining.contains(&id)
    }

    /// Those for which it is another thing than it was whether they drain, and what it is now.
    pub(crate) fn drained_since<'a>(
        &'a self,
        old: &'a Snapshot,
    ) -> impl Iterator<Item = (EndpointId, bool)> + 'a {
        self.draining.symmetric_difference(&old.draining).map(|id| (*id, self.draining.contains(id)))
    }

    /// Appends what makes this set of an older one: first what is new or described anew, then what is gone, so that a
    /// set of which all were replaced is never empty on the way; then that this is all.
    pub(crate) fn since(&self, old: &Snapshot, changes: &mut VecDeque<Change>) {
        let mut gone = Vec::new();
        let (mut olds, mut news) = (old.endpoints.iter().peekable(), self.endpoints.iter().peekable());
        loop {
            match (olds.peek(), news.peek()) {
                (None, None) => break,
                (Some(was), Some(is)) if was.id() == is.id() => {
                    if was != is {
                        changes.push_back(Change::Insert((*is).clone()));
                    }
                    olds.next();
                    news.next();
                }
                (Some(was), is) if is.is_none_or(|is| was.id() < is.id()) => {
                    gone.push(Change::Remove(was.id()));
                    olds.next();
                }
                (_, is) => {
                    changes.extend(is.map(|is| Change::Insert((*is).clone())));
                    news.next();
                }
            }
        }
        changes.extend(gone);
        if self.settled && !(old.settled && changes.is_empty()) {
            changes.push_back(Change::Settled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn between(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
        let mut changes = VecDeque::new();
        new.since(old, &mut changes);
        changes.into()
    }

    #[test]
    fn the_first_set_is_settled_though_it_is_empty() {
        let first = Snapshot::new(1, vec![], BTreeSet::new());
        assert_eq!(between(&Snapshot::default(), &first), [Change::Settled]);
        assert_eq!(between(&first, &Snapshot::new(2, vec![], BTreeSet::new())), []);
        assert_eq!(between(&Snapshot::default(), &Snapshot::default()), []);
    }

    proptest! {
        #[test]
        fn who_follows_the_changes_has_the_set(
            old in proptest::collection::btree_map(0usize..12, 1u32..3, 0..12),
            new in proptest::collection::btree_map(0usize..12, 1u32..3, 0..12),
        ) {
            let all: Vec<_> = (0..12).map(|n| Endpoint::new(n.to_string())).collect();
            let set = |of: &BTreeMap<usize, u32>| -> Vec<Endpoint> {
                of.iter().map(|(n, weight)| all[*n].clone().with_weight(*weight)).collect()
            };
            let (old, new) = (Snapshot::new(1, set(&old), BTreeSet::new()), Snapshot::new(2, set(&new), BTreeSet::new()));
            let mut mine: BTreeMap<EndpointId, Endpoint> =
                old.endpoints().iter().map(|one| (one.id(), one.clone())).collect();
            let changes = between(&old, &new);
            prop_assert_eq!(changes.is_empty(), old.endpoints() == new.endpoints());
            for change in changes {
                match change {
                    Change::Insert(one) => {
                        prop_assert_ne!(mine.insert(one.id(), one.clone()), Some(one), "told twice");
                    }
                    Change::Remove(id) => prop_assert!(mine.remove(&id).is_some()),
                    Change::Settled => {}
                }
                prop_assert!(new.endpoints().is_empty() || !mine.is_empty());
            }
            prop_assert_eq!(mine.into_values().collect::<Vec<_>>(), new.endpoints());
        }
    }
}
