//! What has lost its last owner while calls were under way.

use crate::sync::{AtomicU32, Mutex, lock};
use std::sync::atomic::Ordering::Relaxed;

#[cfg(not(towpath_loom))]
pub(super) static ORPHANS: Orphans = Orphans::new();
#[cfg(towpath_loom)]
loom::lazy_static! {
    pub(super) static ref ORPHANS: Orphans = Orphans::new();
}

/// How many groups of ids there are, of which is known without the lock whether one of them is here.
const GROUPS: usize = if cfg!(towpath_loom) { 1 } else { 64 };

/// The ids of what has no owner, and is not freed yet.
pub(super) struct Orphans {
    /// How many of each group are here. Changed while `ids` is locked.
    groups: [AtomicU32; GROUPS],
    ids: Mutex<Vec<u64>>,
}

impl Orphans {
    #[cfg(not(towpath_loom))]
    const fn new() -> Self {
        Orphans { groups: [const { AtomicU32::new(0) }; GROUPS], ids: Mutex::new(Vec::new()) }
    }

    #[cfg(towpath_loom)]
    fn new() -> Self {
        Orphans { groups: std::array::from_fn(|_| AtomicU32::new(0)), ids: Mutex::new(Vec::new()) }
    }

    fn group(&self, id: u64) -> &AtomicU32 {
        &self.groups[id as usize % GROUPS]
    }

    /// `false` only if it is not here.
    #[inline]
    pub(super) fn may_hold(&self, id: u64) -> bool {
        self.group(id).load(Relaxed) != 0
    }

    pub(super) fn add(&self, id: u64) {
        let mut ids = lock(&self.ids);
        ids.push(id);
        self.group(id).fetch_add(1, Relaxed);
    }

    /// Takes it out if it is here and `settled`, which is asked only if it is.
    pub(super) fn take_if(&self, id: u64, settled: impl FnOnce() -> bool) -> bool {
        let mut ids = lock(&self.ids);
        let Some(at) = ids.iter().position(|other| *other == id) else { return false };
        if !settled() {
            return false;
        }
        ids.swap_remove(at);
        self.group(id).fetch_sub(1, Relaxed);
        true
    }
}
