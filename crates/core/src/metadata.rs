//! Key-value pairs that travel beside a body.

use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;

/// Metadata entries, kept in the form in which they travel: `u16 key_len, u32 value_len, key, value`,
/// one after another. Keys are lower-case ASCII and not empty; values are any bytes. The first of
/// duplicate keys wins.
///
/// What arrived is a slice of the received buffer, and is looked at when asked for; a clone is one
/// reference count. Adding an entry copies what was there: metadata is written seldom and passed on often.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata(Bytes);

/// Why an entry, or a whole block of metadata, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidMetadata {
    /// A key has at least one byte.
    EmptyKey,
    /// A key is at most 65 535 bytes of printable lower-case ASCII.
    BadKey,
    /// A value is at most 4 GiB.
    ValueTooLong,
    /// The entries' lengths do not add up to the length of the block.
    Truncated,
}

const HEAD: usize = 6;

#[inline]
fn split_entry(raw: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (head, rest) = raw.split_first_chunk::<HEAD>()?;
    let key_len = usize::from(u16::from_be_bytes([head[0], head[1]]));
    let value_len = u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize;
    let (key, rest) = rest.split_at_checked(key_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some((key, value, rest))
}

#[inline]
fn check_key(key: &[u8]) -> Result<(), InvalidMetadata> {
    if key.is_empty() {
        return Err(InvalidMetadata::EmptyKey);
    }
    let fine = key.len() <= usize::from(u16::MAX)
        && key.iter().all(|b| matches!(b, 0x21..=0x7e if !b.is_ascii_uppercase()));
    if fine { Ok(()) } else { Err(InvalidMetadata::BadKey) }
}

impl Metadata {
    /// No entries; does not allocate.
    pub const fn new() -> Self {
        Metadata(Bytes::new())
    }

    /// Takes a block as it arrived. Structure and keys are checked here, once; nothing is copied.
    pub fn try_from_wire(raw: Bytes) -> Result<Self, InvalidMetadata> {
        Self::check(&raw)?;
        Ok(Metadata(raw))
    }

    /// Whether a block is one: structure and keys.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(raw: &[u8]) -> Result<(), InvalidMetadata> {
        let mut rest = raw;
        while !rest.is_empty() {
            let (key, _, next) = split_entry(rest).ok_or(InvalidMetadata::Truncated)?;
            check_key(key)?;
            rest = next;
        }
        Ok(())
    }

    /// Takes a block that has been [checked](Self::check); of one that was not, entries may be missing.
    #[inline]
    pub const fn from_checked(raw: Bytes) -> Self {
        Metadata(raw)
    }

    /// The entries as they travel.
    #[inline]
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of the first entry with this key.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// The value of the first entry with this key, if it is UTF-8.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The value of the first entry with this key as a slice that shares the buffer.
    pub fn get_bytes(&self, key: &str) -> Option<Bytes> {
        self.get(key).map(|value| self.0.slice_ref(value))
    }

    /// All entries in order, duplicates included.
    pub fn iter(&self) -> Iter<'_> {
        Iter(&self.0)
    }

    /// Sets an entry; an earlier one of the same key is replaced.
    ///
    /// # Errors
    /// If the key is empty, longer than 65 535 bytes, or has anything but printable lower-case ASCII.
    pub fn insert(&mut self, key: &str, value: impl AsRef<[u8]>) -> Result<(), InvalidMetadata> {
        let value = value.as_ref();
        check_key(key.as_bytes())?;
        let mut raw = BytesMut::with_capacity(self.0.len() + HEAD + key.len() + value.len());
        for (k, v) in self.iter().filter(|(k, _)| *k != key) {
            put_entry(&mut raw, k.as_bytes(), v)?;
        }
        put_entry(&mut raw, key.as_bytes(), value)?;
        self.0 = raw.freeze();
        Ok(())
    }

    /// Removes all entries of this key; says whether there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        let mut raw = BytesMut::with_capacity(self.0.len());
        for (k, v) in self.iter().filter(|(k, _)| *k != key) {
            // The entry was valid when it came in.
            let _ = put_entry(&mut raw, k.as_bytes(), v);
        }
        self.0 = raw.freeze();
        true
    }
}

/// Appends one entry in its travelling form. The key is not checked again.
pub fn put_entry(out: &mut impl BufMut, key: &[u8], value: &[u8]) -> Result<(), InvalidMetadata> {
    let key_len = u16::try_from(key.len()).map_err(|_| InvalidMetadata::BadKey)?;
    let value_len = u32::try_from(value.len()).map_err(|_| InvalidMetadata::ValueTooLong)?;
    out.put_u16(key_len);
    out.put_u32(value_len);
    out.put_slice(key);
    out.put_slice(value);
    Ok(())
}

/// Entries of [`Metadata`], in order.
#[derive(Clone, Debug)]
pub struct Iter<'a>(&'a [u8]);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value, rest) = split_entry(self.0)?;
        self.0 = rest;
        Some((std::str::from_utf8(key).unwrap_or_default(), value))
    }
}

impl<'a> IntoIterator for &'a Metadata {
    type Item = (&'a str, &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Shows keys and the sizes of values: a value may be a secret.
impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(k, v)| (k, format!("{} bytes", v.len())))).finish()
    }
}

impl fmt::Display for InvalidMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidMetadata::EmptyKey => "a metadata key is empty",
            InvalidMetadata::BadKey => "a metadata key is not lower-case printable ASCII",
            InvalidMetadata::ValueTooLong => "a metadata value is longer than 4 GiB",
            InvalidMetadata::Truncated => "the metadata entries do not add up",
        })
    }
}

impl std::error::Error for InvalidMetadata {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_of_duplicates_wins() {
        let mut raw = Vec::new();
        put_entry(&mut raw, b"k", b"one").unwrap();
        put_entry(&mut raw, b"k", b"two").unwrap();
        let m = Metadata::try_from_wire(raw.into()).unwrap();
        assert_eq!(m.get("k"), Some(&b"one"[..]));
        assert_eq!(m.iter().count(), 2);
    }

    #[test]
    fn insert_replaces_and_remove_removes() {
        let mut m = Metadata::new();
        m.insert("a", "1").unwrap();
        m.insert("b", "2").unwrap();
        m.insert("a", "3").unwrap();
        assert_eq!(m.get_str("a"), Some("3"));
        assert_eq!(m.iter().count(), 2);
        assert!(m.remove("a") && !m.remove("a"));
        assert_eq!(m.get("a"), None);
        assert_eq!(m.insert("", "x"), Err(InvalidMetadata::EmptyKey));
        assert_eq!(m.insert("Up", "x"), Err(InvalidMetadata::BadKey));
    }

    #[test]
    fn debug_hides_values() {
        let mut m = Metadata::new();
        m.insert("authorization", "Bearer hush").unwrap();
        assert!(!format!("{m:?}").contains("hush"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(raw in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(m) = Metadata::try_from_wire(raw.clone().into()) {
                let mut again = Vec::new();
                for (k, v) in &m {
                    put_entry(&mut again, k.as_bytes(), v).unwrap();
                }
                prop_assert_eq!(again, raw);
            }
        }

        #[test]
        fn what_is_set_is_got(entries in proptest::collection::btree_map("[a-z-]{1,9}", proptest::collection::vec(any::<u8>(), 0..20), 0..6)) {
            let mut m = Metadata::new();
            for (k, v) in &entries {
                m.insert(k, v).unwrap();
            }
            let back = Metadata::try_from_wire(Bytes::copy_from_slice(m.as_wire())).unwrap();
            for (k, v) in &entries {
                prop_assert_eq!(back.get(k), Some(&v[..]));
            }
        }
    }
}
