//! What is hashed, and how: the same in every process and language. See `docs/protocol.md`, "Affinity".

use towpath_core::Endpoint;
use twox_hash::XxHash64;

/// The hash of an affinity key: XXH64 with seed 0.
///
/// ```
/// assert_eq!(towpath_balance::affinity_hash(b"user-42"), 0x397e_9d3a_76af_7c81);
/// ```
#[inline]
pub fn affinity_hash(key: &[u8]) -> u64 {
    XxHash64::oneshot(0, key)
}

/// The same with another seed, for another use.
#[inline]
pub(crate) fn affinity_hash_with(bytes: &[u8], seed: u64) -> u64 {
    XxHash64::oneshot(seed, bytes)
}

/// What an endpoint is known by in all processes: its label `hash-key` if it has one, else its address. Never its id.
pub(crate) fn name(endpoint: &Endpoint) -> &str {
    endpoint.label("hash-key").unwrap_or_else(|| endpoint.address())
}

/// The weights as they count: if all are 0, all are 1.
pub(crate) fn weights(endpoints: &[&Endpoint]) -> Vec<u32> {
    let idle = endpoints.iter().all(|endpoint| endpoint.weight() == 0);
    endpoints.iter().map(|endpoint| if idle { 1 } else { endpoint.weight() }).collect()
}

/// The endpoints in an order that is the same in every process, and has nothing to do with their addresses.
pub(crate) fn ring_order(endpoints: &[&Endpoint]) -> Vec<usize> {
    let mut order: Vec<_> = (0..endpoints.len()).collect();
    order.sort_by_cached_key(|index| {
        let name = name(endpoints[*index]);
        (affinity_hash(name.as_bytes()), name.to_owned())
    });
    order
}
