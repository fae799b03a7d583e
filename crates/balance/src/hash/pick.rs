//! The same endpoint for the same key.

use super::{HashConfig, KeyFrom, crowd::Crowd, key::key, name, slots::Slots, token, weights};
use crate::{
    PowerOfTwo,
    pick::{Pick, Renew, View},
};
use std::fmt;
use towpath_core::{Endpoint, Live};

/// Takes the same endpoint for the same key, in every process alike; calls without a key go where another picker says.
///
/// Which keys an endpoint has is decided by hashes of keys and of addresses, which `docs/protocol.md` defines for every
/// language. When an endpoint joins, leaves or gets another weight, only keys that it gets or loses change places.
///
/// **An endpoint that takes no calls** is passed over: one that fails, that is full, that drains, and those that this call
/// has tried. Each of its keys goes to the endpoint where it will belong if this one leaves: so the keys of one that drains
/// move once, when it begins to, and not again when it is gone. They come back when an endpoint of the same address takes
/// calls again, with [slow start](crate::BalanceOptions::slow_start) one after another. Who wants a session to stay where
/// it is then sends an [`AffinityToken`](crate::AffinityToken): see [`Pinned`](crate::Pinned).
///
/// **The key** is the call's affinity key unless the [config](crate::HashOptions::keys) says otherwise. It is read where the
/// balancer [honours the context](crate::Balancer::honour_context).
pub struct ConsistentHash<P = PowerOfTwo> {
    config: Live<HashConfig>,
    otherwise: P,
}

/// Whose the keys are.
pub struct HashTable<T> {
    keys: Box<[KeyFrom]>,
    slots: Slots,
    crowd: Option<Crowd>,
    otherwise: T,
}

impl ConsistentHash {
    /// Calls without a key go to the better one of two. The config can be a [`Live`] one that is replaced while
    /// balancers run.
    pub fn new(config: impl Into<Live<HashConfig>>) -> Self {
        ConsistentHash::or(config, PowerOfTwo::new())
    }
}

impl<P> ConsistentHash<P> {
    /// Calls without a key go where `otherwise` says.
    pub fn or(config: impl Into<Live<HashConfig>>, otherwise: P) -> Self {
        ConsistentHash { config: config.into(), otherwise }
    }
}

impl<T> HashTable<T> {
    /// Whether an endpoint takes this key: ready, and its share of keys, if that grows, includes this one.
    #[inline]
    fn takes(&self, view: &View<'_>, index: usize, hash: u64) -> bool {
        // Other bits than those that decide about the slot.
        view.is_drawn_by(index, (hash >> 40) as f32 / (1 << 24) as f32)
            && !self.crowd.as_ref().is_some_and(|crowd| crowd.is_full(view, index))
    }

    /// The one whose the key is takes no calls.
    #[cold]
    #[inline(never)]
    fn walk(&self, view: &View<'_>, slot: usize, hash: u64) -> Option<usize> {
        let mut after = self.slots.after(slot);
        let takes = after.find(|index| self.takes(view, *index, hash));
        // If all are full, the one whose turn it is.
        let any = || self.slots.first(slot).into_iter().chain(self.slots.after(slot));
        takes.or_else(|| any().find(|index| view.is_ready(*index))).or_else(|| view.any_ready())
    }
}

impl<P: Pick> Pick for ConsistentHash<P> {
    type Table = HashTable<P::Table>;

    fn is_heavy(&self) -> bool {
        true
    }

    fn table(&self, endpoints: &[&Endpoint]) -> Self::Table {
        let (config, weights) = (self.config.get(), weights(endpoints));
        let members: Vec<_> =
            endpoints.iter().zip(&weights).map(|(endpoint, weight)| (name(endpoint), *weight)).collect();
        HashTable {
            keys: config.keys.clone().into(),
            slots: Slots::new(config.slots, &members),
            crowd: config.load_bound.map(|bound| Crowd::new(bound, config.load_floor, &weights)),
            otherwise: self.otherwise.table(endpoints),
        }
    }

    #[inline]
    fn pick(&self, table: &Self::Table, view: &View<'_>) -> Option<usize> {
        let Some(key) = key(&table.keys, view) else { return self.otherwise.pick(&table.otherwise, view) };
        let hash = token::hash(key);
        let slot = table.slots.slot(hash);
        if let Some(crowd) = &table.crowd {
            crowd.look(view);
        }
        match table.slots.first(slot) {
            Some(first) if table.takes(view, first, hash) => Some(first),
            _ => table.walk(view, slot, hash),
        }
    }

    fn refresh(&self, table: &Self::Table, view: &View<'_>) {
        self.otherwise.refresh(&table.otherwise, view);
    }

    fn suits(&self, table: &Self::Table, view: &View<'_>, index: usize) -> bool {
        match key(&table.keys, view) {
            Some(key) => {
                table.slots.first(table.slots.slot(token::hash(key))) == Some(index)
                    || token::split(key)
                        .is_some_and(|(named, _)| token::hash_of(view.endpoint(index)) == named)
            }
            None => self.otherwise.suits(&table.otherwise, view, index),
        }
    }

    fn listen(&self, renew: &Renew) {
        let again = renew.clone();
        self.config.listen(move || again());
        self.otherwise.listen(renew);
    }
}

impl<P: Clone> Clone for ConsistentHash<P> {
    fn clone(&self) -> Self {
        ConsistentHash { config: self.config.clone(), otherwise: self.otherwise.clone() }
    }
}

impl<P: fmt::Debug> fmt::Debug for ConsistentHash<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsistentHash")
            .field("config", &self.config)
            .field("otherwise", &self.otherwise)
            .finish()
    }
}
