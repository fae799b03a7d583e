//! When what a source says becomes the set of endpoints: a pure machine, which is told the time.

use crate::{
    Changes, DiscoverConfig, Instance, Update,
    table::{Applied, Table},
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};
use tokio::time::Instant;
use towpath_core::{Endpoint, EndpointId};

/// What a source has said, and what of it was made known.
///
/// ```text
///  nothing known ── first word ──► known, and told at once
///  known ── changes ──► waits until it is quiet ──► told
///  known ── all are gone ──► doubts it, for `empty_hold` ──► told
///                                └── some are back ──► as if nothing had been
/// ```
#[derive(Debug, Default)]
pub(crate) struct Settle {
    table: Table,
    told: HashMap<Arc<str>, Told>,
    /// Those that were told, by id.
    endpoints: Vec<Endpoint>,
    draining: BTreeSet<EndpointId>,
    settled: bool,
    /// When the first and the last change came that were not told yet.
    waiting: Option<(Instant, Instant)>,
    /// Since when the source says that there is nothing.
    doubt: Option<Instant>,
}

#[derive(Debug)]
struct Told {
    instance: Instance,
    id: EndpointId,
}

/// What happened when an update came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) refused: Option<(usize, String)>,
    pub(crate) doubt: Option<Doubt>,
}

/// A turn in the belief in an empty answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    Until(Instant),
    Withdrawn,
}

/// A set to be made known, and what is to be said to its endpoints.
#[derive(Debug)]
pub(crate) struct Publication {
    /// Sorted by id.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) gone: Vec<Endpoint>,
    pub(crate) draining: BTreeSet<EndpointId>,
    pub(crate) changes: Changes,
}

impl Settle {
    /// The source said something.
    pub(crate) fn hear(&mut self, update: Update, now: Instant, config: &DiscoverConfig) -> Heard {
        // A list may be empty; a delta that says nothing does not mean that there is nothing.
        let first = !self.settled && matches!(update, Update::Full(_));
        let Applied { changed, refused } = self.table.apply(update, config.max_endpoints());
        if changed || first {
            let since = self.waiting.map_or(now, |(since, _)| since);
            self.waiting = Some((since, now));
        }
        let empty = self.table.is_empty() && !self.endpoints.is_empty();
        let doubt = match (empty, self.doubt) {
            (true, None) => {
                self.doubt = Some(now);
                (!config.empty_hold().is_zero()).then(|| Doubt::Until(now + config.empty_hold()))
            }
            (false, Some(_)) => {
                self.doubt = None;
                Some(Doubt::Withdrawn)
            }
            _ => None,
        };
        Heard { refused, doubt }
    }

    /// When there is something to make known, if nothing else is said until then.
    pub(crate) fn due(&self, config: &DiscoverConfig) -> Option<Instant> {
        let (since, last) = self.waiting?;
        Some(match self.doubt {
            _ if !self.settled => since,
            Some(since) => since + config.empty_hold(),
            None => (last + config.quiet()).min(since + config.quiet_max()),
        })
    }

    /// What is to be made known now, if anything.
    pub(crate) fn settle(&mut self, now: Instant, config: &DiscoverConfig) -> Option<Publication> {
        if self.due(config).is_none_or(|due| now < due) {
            return None;
        }
        (self.waiting, self.doubt) = (None, None);
        let first = !std::mem::replace(&mut self.settled, true);
        let (mut changes, mut leaving) = (Changes::default(), HashSet::new());
        // In order, so that the same list gives the same order of ids.
        let mut changed: Vec<_> = self.table.take_changed().into_iter().collect();
        changed.sort_unstable();
        for address in changed {
            match (self.told.get_mut(&address), self.table.at(&address)) {
                (None, None) => {}
                (Some(told), Some(instance)) if told.instance == *instance => {}
                (Some(told), Some(instance)) => {
                    changes.described += 1;
                    told.instance = instance.clone();
                    let id = told.id;
                    self.describe(id, &address);
                }
                (None, Some(instance)) => {
                    changes.inserted += 1;
                    let endpoint = Endpoint::new(address.clone());
                    let id = endpoint.id();
                    self.told.insert(address.clone(), Told { instance: instance.clone(), id });
                    // The newest id is the highest.
                    self.endpoints.push(endpoint);
                    self.describe(id, &address);
                }
                (Some(told), None) => {
                    changes.removed += 1;
                    let id = told.id;
                    self.told.remove(&address);
                    self.draining.remove(&id);
                    leaving.insert(id);
                }
            }
        }
        // All at once: each alone would move all that stand behind it.
        let gone = match leaving.is_empty() {
            true => Vec::new(),
            false => self.endpoints.extract_if(.., |endpoint| leaving.contains(&endpoint.id())).collect(),
        };
        changes.endpoints = self.endpoints.len();
        let Changes { inserted, removed, described, .. } = changes;
        (first || inserted + removed + described > 0).then(|| Publication {
            endpoints: self.endpoints.clone(),
            gone,
            draining: self.draining.clone(),
            changes,
        })
    }

    /// Has the endpoint say what the instance at its address says.
    fn describe(&mut self, id: EndpointId, address: &str) {
        let Ok(place) = self.endpoints.binary_search_by_key(&id, Endpoint::id) else { return };
        let Some(Told { instance, .. }) = self.told.get(address) else { return };
        self.endpoints[place] = described(self.endpoints[place].clone(), instance);
        match instance.is_draining() {
            true => self.draining.insert(id),
            false => self.draining.remove(&id),
        };
    }
}

/// The same endpoint, as the instance describes it.
fn described(endpoint: Endpoint, instance: &Instance) -> Endpoint {
    let mut endpoint =
        endpoint.undescribed().with_weight(instance.weight()).with_priority(instance.priority());
    if let Some(zone) = instance.zone() {
        endpoint = endpoint.with_zone(zone.clone());
    }
    for (name, value) in instance.labels() {
        endpoint = endpoint.with_label(name, value);
    }
    endpoint
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, time::Duration};

    #[derive(Clone, Debug)]
    enum Step {
        Full(BTreeSet<u8>),
        Insert(u8),
        Remove(u8),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let some = proptest::collection::btree_set(0u8..5, 0..5);
        let step = prop_oneof![
            2 => some.prop_map(Step::Full),
            2 => (0u8..5).prop_map(Step::Insert),
            2 => (0u8..5).prop_map(Step::Remove),
            4 => prop_oneof![0u64..50, 0u64..400, 0u64..6_000].prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 0..40)
    }

    fn instance(n: u8) -> Instance {
        Instance::new(n.to_string())
    }

    proptest! {
        /// Beside a set of numbers that takes every word as it comes.
        #[test]
        fn what_is_said_is_told_in_time_and_nothing_else(steps in steps()) {
            let ms = Duration::from_millis;
            let config = DiscoverConfig::default().with_empty_hold(ms(5_000)).unwrap();
            let (mut settle, mut now) = (Settle::default(), Instant::now());
            let (mut said, mut known) = (BTreeSet::new(), false);
            let mut told: BTreeMap<String, EndpointId> = BTreeMap::new();
            let mut empty_since = now;
            // Since when what is told is not what is said.
            let mut behind: Option<Instant> = None;
            for step in steps.into_iter().chain([Step::Wait(6_000)]) {
                let end = match step {
                    Step::Wait(time) => now + ms(time),
                    step => {
                        let was_empty = said.is_empty();
                        let update = match step {
                            Step::Full(all) => {
                                said = all.clone();
                                known = true;
                                Update::Full(all.into_iter().map(instance).collect())
                            }
                            Step::Insert(n) => {
                                said.insert(n);
                                known = true;
                                Update::Delta { changed: vec![instance(n)], removed: vec![] }
                            }
                            Step::Remove(n) => {
                                said.remove(&n);
                                Update::Delta { changed: vec![], removed: vec![n.to_string().into()] }
                            }
                            Step::Wait(_) => Update::Unchanged,
                        };
                        if !was_empty && said.is_empty() {
                            empty_since = now;
                        }
                        settle.hear(update, now, &config);
                        now
                    }
                };
                while let Some(due) = settle.due(&config).filter(|due| *due <= end) {
                    now = now.max(due);
                    let Some(publication) = settle.settle(now, &config) else { continue };
                    let is: BTreeMap<_, _> = (publication.endpoints.iter())
                        .map(|one| (one.address().to_string(), one.id()))
                        .collect();
                    let wanted: BTreeSet<_> = said.iter().map(u8::to_string).collect();
                    prop_assert!(is.keys().eq(wanted.iter()), "{is:?} {wanted:?}");
                    prop_assert!(known);
                    for (address, id) in &is {
                        // Who stayed is the same; who is new is nobody that was.
                        prop_assert_eq!(told.get(address).is_none_or(|was| was == id), true);
                        prop_assert_eq!(told.values().any(|was| was == id), told.contains_key(address));
                    }
                    let gone: BTreeSet<_> = publication.gone.iter().map(Endpoint::id).collect();
                    let missing = told.iter().filter(|(address, _)| !is.contains_key(*address));
                    prop_assert_eq!(gone, missing.map(|(_, id)| *id).collect());
                    if is.is_empty() && !told.is_empty() {
                        prop_assert!(now >= empty_since + ms(5_000), "it was believed at once");
                    }
                    told = is;
                }
                now = end;
                let same = told.keys().cloned().eq(said.iter().map(u8::to_string)) || !known;
                behind = if same { None } else { behind.or(Some(now)) };
                let patience = if said.is_empty() { 5_000 } else { 1_000 };
                let since = if said.is_empty() { behind.map(|_| empty_since) } else { behind };
                prop_assert!(since.is_none_or(|since| now < since + ms(patience)), "it is told too late");
            }
        }
    }
}
