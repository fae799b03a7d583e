//! The lock and the atomics that decide: the standard library's, or loom's where every order of what threads do is
//! tried (`--cfg towpath_loom`; see `docs/proof.md`).

#[cfg(towpath_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence},
};
#[cfg(not(towpath_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence},
};

/// What a `Notify` of tokio orders: who gets in line after it was rung sees what was done before. Loom does not see into
/// it, so it is told here.
#[cfg(not(towpath_loom))]
pub(crate) struct Order;
#[cfg(towpath_loom)]
pub(crate) struct Order(Mutex<()>);

#[cfg(not(towpath_loom))]
impl Order {
    pub(crate) const fn new() -> Self {
        Order
    }

    #[inline(always)]
    pub(crate) fn pass(&self) {}
}

#[cfg(towpath_loom)]
impl Order {
    pub(crate) fn new() -> Self {
        Order(Mutex::new(()))
    }

    pub(crate) fn pass(&self) {
        drop(self.0.lock());
    }
}
