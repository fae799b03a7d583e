//! A hash for short keys.

use std::hash::{BuildHasher, Hasher};

/// Folds eight bytes at a time into the product of two words, as wyhash and its kin do: some five nanoseconds for
/// a method's name. With a seed of its own, so that nobody outside can tell which names fall together; and were they
/// to, the bounded number of keys bounds what it costs.
#[derive(Clone, Copy)]
pub(crate) struct Seeded(u64);

pub(crate) struct Fold(u64);

/// Odd, with as many ones as zeros, and no pattern: digits of the golden ratio and of pi.
const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0x243f_6a88_85a3_08d3;

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Seeded(seed)
    }
}

impl BuildHasher for Seeded {
    type Hasher = Fold;

    #[inline]
    fn build_hasher(&self) -> Fold {
        Fold(self.0)
    }
}

impl Fold {
    #[inline]
    fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ K1) * u128::from(K0);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for Fold {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.word(n as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        let product = u128::from(self.0) * u128::from(K1);
        (product as u64) ^ ((product >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_spread() {
        for seed in 0..8 {
            let seeded = Seeded::new(seed);
            let low: BTreeSet<_> =
                (0..1_000).map(|i| seeded.hash_one(format!("Service{i}.Get").as_bytes()) & 0xffff).collect();
            assert!(low.len() > 960, "{}", low.len());
            let high: BTreeSet<_> =
                (0..1_000).map(|i| seeded.hash_one(format!("Service.Get{i}").as_bytes()) >> 48).collect();
            assert!(high.len() > 960, "{}", high.len());
        }
    }
}
