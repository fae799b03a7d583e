//! The times of many keys: sharded, and bounded.

use super::gcra::Ticks;
use crate::sync::{Mutex, lock};
use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
};

/// How many shards: so many threads can look at a time.
const SHARDS: usize = 16;

/// For each key the theoretical arrival time of its next call. A key whose time has come is as one that never called,
/// and is forgotten when room is needed; where none is to be had, keys that are not known share one time, so that
/// nobody gets a new rate by a new key.
pub(super) struct Table {
    hashing: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    next: HashMap<u64, Ticks, BuildHasherDefault<AsItIs>>,
    /// For keys that found no room.
    others: Ticks,
    /// Before this nothing more can be forgotten.
    full_until: Ticks,
}

impl Table {
    pub(super) fn new() -> Self {
        Table { hashing: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// To feed a key to.
    pub(super) fn hasher(&self) -> std::hash::DefaultHasher {
        self.hashing.build_hasher()
    }

    /// Changes the time of a key; `change` says to what, or that it stays. At most `most` keys are known.
    pub(super) fn change<T>(
        &self,
        key: u64,
        most: u32,
        now: Ticks,
        change: impl FnOnce(Ticks) -> (Option<Ticks>, T),
    ) -> T {
        let shard = &mut *lock(&self.shards[(key >> 60) as usize]);
        if let Some(next) = shard.next.get_mut(&key) {
            let (after, value) = change(*next);
            *next = after.unwrap_or(*next);
            return value;
        }
        if shard.has_room((most as usize).div_ceil(SHARDS), now) {
            let (after, value) = change(0);
            if let Some(after) = after {
                shard.next.insert(key, after);
            }
            return value;
        }
        let (after, value) = change(shard.others);
        shard.others = after.unwrap_or(shard.others);
        value
    }

    /// How many keys are known.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).next.len()).sum()
    }
}

impl Shard {
    fn has_room(&mut self, most: usize, now: Ticks) -> bool {
        if self.next.len() < most {
            return true;
        }
        // Each look at all keys is paid for by as many that could be forgotten, or by time.
        if now < self.full_until {
            return false;
        }
        let mut first = Ticks::MAX;
        self.next.retain(|_, next| {
            let stays = *next > now;
            if stays {
                first = first.min(*next);
            }
            stays
        });
        let has_room = self.next.len() < most;
        if !has_room {
            // A key whose time comes at the next tick would not be worth another look at all of them.
            let latest = self.next.values().max().copied().unwrap_or(now);
            self.full_until = first.max(now + (latest - now) / 16);
        }
        has_room
    }
}

/// Keys are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn touch(table: &Table, key: u64, most: u32, now: Ticks, busy: Ticks) -> Ticks {
        table.change(key, most, now, |next| (Some(now + busy), next))
    }

    /// One key to each shard: the upper bits choose it.
    fn key(n: u64) -> u64 {
        n << 60 | n
    }

    #[test]
    fn idle_keys_make_room_and_busy_ones_do_not() {
        let table = Table::new();
        // 16 keys, one in each shard.
        (0..16).for_each(|n| assert_eq!(touch(&table, key(n), 16, 0, 100), 0));
        assert_eq!(table.len(), 16);
        // Another one in the first shard shares the time of those without room.
        assert_eq!((touch(&table, 99, 16, 50, 100), touch(&table, 98, 16, 60, 100)), (0, 150));
        assert_eq!((table.len(), touch(&table, key(0), 16, 60, 140)), (16, 100));
        // Once its time has come, it goes.
        assert_eq!((touch(&table, 97, 16, 200, 100), table.len()), (0, 16));
        assert_eq!(touch(&table, key(0), 16, 200, 1), 160);
    }

    /// Against a map that forgets nothing: whoever is known has the same time, and there are never too many.
    #[test]
    fn as_a_map_that_forgets_nothing() {
        let table = Table::new();
        let (mut naive, mut random) = (BTreeMap::new(), fastrand::Rng::with_seed(7));
        for now in 0..20_000u64 {
            let key = random.u64(..).wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xfff | random.u64(..4);
            let known = table.change(key, 10_000, now, |next| (Some(next.max(now) + 500), next.max(now)));
            let expected = naive.get(&key).copied().unwrap_or(0).max(now);
            assert_eq!(known, expected);
            naive.insert(key, expected + 500);
            assert!(table.len() <= 10_000);
        }
    }
}
