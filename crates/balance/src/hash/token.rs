//! An affinity key that names an endpoint.

use super::name::{affinity_hash, affinity_hash_with, name};
use bytes::Bytes;
use std::fmt;
use towpath_core::Endpoint;

/// An affinity key that names an endpoint, and has a key of its own for when that one takes no calls.
///
/// It is written `@`, the hash of what the endpoint is known by as 16 hex digits, `:` and the key. So it says where a
/// session lives without saying the address, to every process alike. Whatever begins with `@` and is no token is a key.
///
/// ```
/// use towpath_balance::AffinityToken;
/// use towpath_core::Endpoint;
/// let token = AffinityToken::new(&Endpoint::new("mcp://10.0.0.7:8080"), b"cart-42");
/// assert_eq!(token.to_string(), "@71c684f3df0268b7:cart-42");
/// assert_eq!(AffinityToken::parse(token.to_string().as_bytes()), Some(token));
/// assert_eq!(AffinityToken::parse(b"@home"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffinityToken {
    endpoint: u64,
    key: Bytes,
}

const DIGITS: usize = 16;
/// Of the hash by which shares are decided.
const SHARE_SEED: u64 = u64::MAX;

impl AffinityToken {
    /// Names an endpoint. While that takes no calls, they go where the key belongs.
    pub fn new(endpoint: &Endpoint, key: &[u8]) -> Self {
        AffinityToken { endpoint: hash_of(endpoint), key: Bytes::copy_from_slice(key) }
    }

    /// Reads one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (endpoint, key) = split(text)?;
        Some(AffinityToken { endpoint, key: Bytes::copy_from_slice(key) })
    }

    /// Whether this is the endpoint that it names.
    pub fn names(&self, endpoint: &Endpoint) -> bool {
        self.endpoint == hash_of(endpoint)
    }

    /// Where calls go while the endpoint takes none: where this key belongs.
    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

/// As an affinity key.
impl From<AffinityToken> for Bytes {
    fn from(token: AffinityToken) -> Bytes {
        [format!("@{:016x}:", token.endpoint).as_bytes(), &token.key].concat().into()
    }
}

/// As it is sent, if the key is text.
impl fmt::Display for AffinityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{:016x}:{}", self.endpoint, String::from_utf8_lossy(&self.key))
    }
}

/// What a token names an endpoint by.
pub(crate) fn hash_of(endpoint: &Endpoint) -> u64 {
    affinity_hash(name(endpoint).as_bytes())
}

/// The endpoint that a key names and the key that is left, if it is a token.
#[inline]
pub(crate) fn split(key: &[u8]) -> Option<(u64, &[u8])> {
    let rest = key.strip_prefix(b"@")?;
    let (digits, rest) = rest.split_at_checked(DIGITS)?;
    let digit = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let endpoint = digits.iter().try_fold(0, |sum, next| Some(sum << 4 | u64::from(digit(next)?)))?;
    Some((endpoint, rest.strip_prefix(b":")?))
}

/// What a key is hashed by: without the endpoint, if it names one.
#[inline]
pub(crate) fn hash(key: &[u8]) -> u64 {
    affinity_hash(split(key).map_or(key, |(_, key)| key))
}

/// The number by which calls with this key are shared out: other bits than those that decide about the endpoint.
#[inline]
pub(crate) fn share_of(key: &[u8]) -> u32 {
    (affinity_hash_with(split(key).map_or(key, |(_, key)| key), SHARE_SEED) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(address in ".{0,20}", key: Vec<u8>) {
            let endpoint = Endpoint::new(address);
            let token = AffinityToken::new(&endpoint, &key);
            let bytes = Bytes::from(token.clone());
            prop_assert!(token.names(&endpoint) && !token.names(&Endpoint::new("another")));
            prop_assert_eq!(split(&bytes), Some((hash_of(&endpoint), &key[..])));
            prop_assert_eq!(hash(&bytes), affinity_hash(&key));
            prop_assert_eq!(AffinityToken::parse(&bytes), Some(token));
        }

        #[test]
        fn anything_else_is_a_key(key: Vec<u8>) {
            let text = String::from_utf8_lossy(&key);
            let token = key.len() >= 18 && text.starts_with('@') && key[17] == b':'
                && key[1..17].iter().all(|digit| b"0123456789abcdef".contains(digit));
            prop_assert_eq!(split(&key).is_some(), token);
        }
    }

    #[test]
    fn nearly_tokens() {
        for key in
            ["", "@", "@0123456789abcdef", "@0123456789ABCDEF:x", "@0123456789abcde:x", "0123456789abcdef:x"]
        {
            assert_eq!(split(key.as_bytes()), None, "{key}");
        }
        assert_eq!(split(b"@0123456789abcdef:"), Some((0x0123_4567_89ab_cdef, &b""[..])));
    }
}
