//! Answers by key, bounded: a pure machine.

use super::config::LastGoodConfig;
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::time::Instant;

/// What an answer takes beside its own bytes: both maps' entries, roughly.
const OVERHEAD: usize = 200;

/// Good answers, the oldest first to go.
#[derive(Debug)]
pub(crate) struct Cache<T> {
    /// The turn of each key.
    turns: HashMap<u128, u64>,
    /// By turn: the first is the one that was kept longest ago.
    entries: BTreeMap<u64, Entry<T>>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    key: u128,
    at: Instant,
    size: usize,
    answer: T,
}

impl<T> Cache<T> {
    pub(crate) fn new() -> Self {
        Cache { turns: HashMap::new(), entries: BTreeMap::new(), next: 0, bytes: 0 }
    }

    /// Keeps an answer in place of the one that is there, and gives up what is too much then. One that is too
    /// large is not kept, and the one before it is gone all the same: it is not the last any more.
    pub(crate) fn insert(&mut self, key: u128, answer: T, size: usize, at: Instant, config: &LastGoodConfig) {
        self.remove(key);
        let size = size.saturating_add(OVERHEAD);
        if size > config.max_bytes() / 8 {
            return;
        }
        self.turns.insert(key, self.next);
        self.entries.insert(self.next, Entry { key, at, size, answer });
        self.next += 1;
        self.bytes += size;
        while self.entries.len() > config.max_entries() || self.bytes > config.max_bytes() {
            let Some((_, oldest)) = self.entries.pop_first() else { break };
            self.turns.remove(&oldest.key);
            self.bytes -= oldest.size;
        }
    }

    /// The answer under a key, and how old it is, unless it is too old.
    pub(crate) fn get(&self, key: u128, now: Instant, max_age: Duration) -> Option<(&T, Duration)> {
        let entry = self.entries.get(self.turns.get(&key)?)?;
        let age = now.saturating_duration_since(entry.at);
        (age <= max_age).then_some((&entry.answer, age))
    }

    pub(crate) fn remove(&mut self, key: u128) {
        let entry = self.turns.remove(&key).and_then(|turn| self.entries.remove(&turn));
        self.bytes -= entry.map_or(0, |entry| entry.size);
    }

    pub(crate) fn clear(&mut self) {
        self.turns.clear();
        self.entries.clear();
        self.bytes = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, usize),
        Get(u8),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0u8..12, 0usize..2_000).prop_map(|(key, size)| Step::Insert(key, size)),
            3 => (0u8..12).prop_map(Step::Get),
            1 => (0u64..400).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Against a plain list of all that was ever kept.
        #[test]
        fn it_keeps_what_a_plain_list_keeps(steps in proptest::collection::vec(step(), 1..300)) {
            let config = LastGoodConfig::default()
                .with_refresh(Duration::ZERO).and_then(|c| c.with_max_age(Duration::from_millis(900)))
                .and_then(|c| c.with_max_entries(6)).and_then(|c| c.with_max_bytes(8_000)).unwrap();
            let mut cache = Cache::new();
            let mut list: Vec<(u128, usize, usize, Instant)> = Vec::new();
            let mut now = Instant::now();
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(key, size) => {
                        cache.insert(u128::from(key), n, size, now, &config);
                        list.retain(|entry| entry.0 != u128::from(key));
                        if size + OVERHEAD <= 1_000 {
                            list.push((u128::from(key), n, size + OVERHEAD, now));
                        }
                        while list.len() > 6 || list.iter().map(|entry| entry.2).sum::<usize>() > 8_000 {
                            list.remove(0);
                        }
                    }
                    Step::Get(key) => {
                        let own = cache.get(u128::from(key), now, config.max_age()).map(|(n, age)| (*n, age));
                        let theirs = list.iter().find(|entry| entry.0 == u128::from(key))
                            .map(|entry| (entry.1, now - entry.3))
                            .filter(|(_, age)| *age <= config.max_age());
                        prop_assert_eq!(own, theirs);
                    }
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                }
                prop_assert_eq!(cache.len(), list.len());
                prop_assert_eq!(cache.turns.len(), list.len());
                prop_assert_eq!(cache.bytes(), list.iter().map(|entry| entry.2).sum::<usize>());
            }
        }
    }
}
