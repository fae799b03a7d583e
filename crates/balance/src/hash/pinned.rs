//! The endpoint that a token names.

use super::{KeyFrom, key::key, token};
use crate::pick::{Pick, Renew, View};
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};
use towpath_core::Endpoint;

/// Takes the endpoint that the call's affinity key names, if that is an [`AffinityToken`](crate::AffinityToken); calls
/// without one, and those whose endpoint takes none, go where another picker says: most often a
/// [`ConsistentHash`](crate::ConsistentHash), which goes by the key that the token has too.
///
/// For sessions that live in one process. An endpoint that drains or fails has no more calls of its sessions; the caller
/// that gets an answer from another endpoint makes a token for that one, if the session moved with the call, and it will
/// stay there. A token is only as good as the other picker [allows](Pick::suits): one that keeps writes on a primary does
/// so here too.
#[derive(Clone, Debug)]
pub struct Pinned<P> {
    otherwise: P,
}

/// Who is named how.
pub struct PinnedTable<T> {
    named: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    otherwise: T,
}

/// What are hashes already are not hashed again.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Only whole numbers come here.
    fn write(&mut self, _bytes: &[u8]) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

impl<P> Pinned<P> {
    /// Calls that are not pinned go where `otherwise` says.
    pub fn or(otherwise: P) -> Self {
        Pinned { otherwise }
    }
}

impl<P: Pick> Pinned<P> {
    /// The endpoint that the call names, if it may go there.
    #[inline]
    fn named(&self, table: &PinnedTable<P::Table>, view: &View<'_>) -> Option<usize> {
        let (endpoint, _) = token::split(key(&[KeyFrom::AffinityKey], view)?)?;
        let index = *table.named.get(&endpoint)? as usize;
        (view.is_ready(index) && self.otherwise.suits(&table.otherwise, view, index)).then_some(index)
    }
}

impl<P: Pick> Pick for Pinned<P> {
    type Table = PinnedTable<P::Table>;

    fn is_heavy(&self) -> bool {
        self.otherwise.is_heavy()
    }

    fn table(&self, endpoints: &[&Endpoint]) -> Self::Table {
        let named =
            endpoints.iter().enumerate().map(|(index, endpoint)| (token::hash_of(endpoint), index as u32));
        PinnedTable { named: named.collect(), otherwise: self.otherwise.table(endpoints) }
    }

    #[inline]
    fn pick(&self, table: &Self::Table, view: &View<'_>) -> Option<usize> {
        self.named(table, view).or_else(|| self.otherwise.pick(&table.otherwise, view))
    }

    fn refresh(&self, table: &Self::Table, view: &View<'_>) {
        self.otherwise.refresh(&table.otherwise, view);
    }

    fn suits(&self, table: &Self::Table, view: &View<'_>, index: usize) -> bool {
        let named = self.named(table, view);
        named.is_none_or(|named| named == index) && self.otherwise.suits(&table.otherwise, view, index)
    }

    fn listen(&self, renew: &Renew) {
        self.otherwise.listen(renew);
    }
}
