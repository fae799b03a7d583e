//! A short hash for method names.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds [`NameHasher`]s.
pub(super) type NameHash = BuildHasherDefault<NameHasher>;

/// Eight bytes at a time, multiplied and folded.
///
/// The keys of the tables are the program's own names, so nobody outside can make them collide: the guard
/// that std's keyed hash gives would be paid for on every call, and guard nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct NameHasher(u64);

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl NameHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        let wide = u128::from(self.0 ^ word ^ ODD) * u128::from(ODD.rotate_left(23) | 1);
        self.0 = (wide as u64) ^ ((wide >> 64) as u64);
    }
}

impl Hasher for NameHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(last));
        }
    }

    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashSet, hash::BuildHasher};

    fn hash(name: &[u8]) -> u64 {
        NameHash::default().hash_one(name)
    }

    /// A table picks its bucket by the low bits and tells entries apart by the high seven.
    #[test]
    fn names_that_differ_little_spread() {
        let names: Vec<String> =
            (0..4096).map(|i| format!("Service{:02}.Method{:02}", i / 64, i % 64)).collect();
        let hashes: Vec<u64> = names.iter().map(|name| hash(name.as_bytes())).collect();
        let distinct = |f: fn(u64) -> u64| hashes.iter().copied().map(f).collect::<HashSet<_>>().len();
        assert_eq!(distinct(|h| h), 4096);
        // 4 096 balls into 4 096 bins fill about 63 % of them.
        let (low, high) = (distinct(|h| h & 4095), distinct(|h| h >> 52));
        assert!(low > 2400 && high > 2400, "{low} {high}");
    }

    #[test]
    fn length_counts() {
        let zeros = [0u8; 24];
        let hashes: HashSet<u64> = (0..24).map(|n| hash(&zeros[..n])).collect();
        assert_eq!(hashes.len(), 24);
    }
}
