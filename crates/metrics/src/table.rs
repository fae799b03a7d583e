//! A bounded table that only grows, and is read without a lock.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Mutex, OnceLock, PoisonError},
};

/// Values by name and number. Up to `max` of them; they stay once they are there.
///
/// Open addressing with linear probing in a fixed array that is at most half full: a look-up reads one or two places.
pub(crate) struct Table<V> {
    places: Box<[OnceLock<Box<Entry<V>>>]>,
    seed: u64,
    max: usize,
    count: Mutex<usize>,
}

struct Entry<V> {
    name: Box<[u8]>,
    number: u64,
    value: V,
}

/// Odd, and without a pattern: digits of the golden ratio and of pi.
const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0x243f_6a88_85a3_08d3;

impl<V> Table<V> {
    pub(crate) fn new(max: usize) -> Self {
        let places = (2 * max.max(1)).next_power_of_two();
        Table {
            places: (0..places).map(|_| OnceLock::new()).collect(),
            seed: RandomState::new().build_hasher().finish(),
            max,
            count: Mutex::new(0),
        }
    }

    /// Folds eight bytes at a time into the product of two words, as wyhash and its kin do; with a seed, so that nobody
    /// outside can tell which names fall together.
    #[inline]
    fn hash(&self, name: &[u8], number: u64) -> usize {
        let fold = |hash: u64, word: u64| {
            let product = u128::from(hash ^ word ^ K1) * u128::from(K0);
            (product as u64) ^ ((product >> 64) as u64)
        };
        let mut hash = fold(self.seed, number ^ name.len() as u64);
        let mut chunks = name.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            hash = fold(hash, u64::from_le_bytes(word));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            hash = fold(hash, u64::from_le_bytes(word));
        }
        hash as usize
    }

    /// Where it is; or where it would be.
    #[inline]
    fn probe(&self, name: &[u8], number: u64) -> Result<u32, usize> {
        let mask = self.places.len() - 1;
        let mut place = self.hash(name, number) & mask;
        loop {
            match self.places[place].get() {
                None => return Err(place),
                Some(entry) if entry.number == number && *entry.name == *name => return Ok(place as u32),
                Some(_) => place = (place + 1) & mask,
            }
        }
    }

    /// Whether it is at this place: cheaper than to find it.
    #[inline]
    pub(crate) fn is(&self, place: u32, name: &[u8], number: u64) -> bool {
        let entry = self.places.get(place as usize).and_then(OnceLock::get);
        entry.is_some_and(|entry| entry.number == number && *entry.name == *name)
    }

    /// The place of what is there.
    #[inline]
    pub(crate) fn find(&self, name: &[u8], number: u64) -> Option<u32> {
        self.probe(name, number).ok()
    }

    /// The place of what is there, or is there now; `None` if there is no room.
    #[cold]
    pub(crate) fn find_or_add(&self, name: &[u8], number: u64, make: impl FnOnce() -> V) -> Option<u32> {
        if let Some(place) = self.find(name, number) {
            return Some(place);
        }
        let value = make();
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        match self.probe(name, number) {
            Ok(place) => Some(place),
            Err(_) if *count >= self.max => None,
            Err(place) => {
                *count += 1;
                self.places[place].get_or_init(|| Box::new(Entry { name: name.into(), number, value }));
                Some(place as u32)
            }
        }
    }

    #[inline]
    pub(crate) fn at(&self, place: u32) -> Option<&V> {
        self.places.get(place as usize)?.get().map(|entry| &entry.value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &V> {
        self.places.iter().filter_map(|place| place.get()).map(|entry| &entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_is_a_bounded_map(keys in vec(("[a-c.]{0,12}", 0u64..4), 0..200), max in 0usize..40) {
            let table = Table::new(max);
            let mut model = HashMap::new();
            for (n, (name, number)) in keys.iter().enumerate() {
                let key = (name.clone(), *number);
                let room = model.len() < max;
                if room {
                    model.entry(key.clone()).or_insert(n);
                }
                let place = table.find_or_add(name.as_bytes(), *number, || n);
                prop_assert_eq!(place.and_then(|place| table.at(place)), model.get(&key));
                prop_assert_eq!(table.find(name.as_bytes(), *number), place);
                prop_assert_eq!((0..256).find(|place| table.is(*place, name.as_bytes(), *number)), place);
            }
            prop_assert_eq!(table.iter().count(), model.len());
        }
    }

    #[test]
    fn many_threads_add_each_once() {
        let table = Table::new(1_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..1_500u64 {
                        let _ = table.find_or_add(b"name", n, || n);
                    }
                });
            }
        });
        assert_eq!(table.iter().count(), 1_000);
    }
}
