//! Atomics and the lock: the standard library's, or loom's where every order of what threads do is tried
//! (`--cfg towpath_loom`; see `docs/proof.md`).

#[cfg(towpath_loom)]
pub(crate) use loom::sync::{
    Mutex,
    atomic::{AtomicU32, AtomicU64, AtomicUsize},
};
#[cfg(not(towpath_loom))]
pub(crate) use std::sync::{
    Mutex,
    atomic::{AtomicU32, AtomicU64, AtomicUsize},
};

use std::sync::{PoisonError, atomic::Ordering};

/// Locks; a panic elsewhere has left nothing half done.
#[cfg(not(towpath_loom))]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(towpath_loom)]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sees what was done before `count` was last lowered. (A load and no fence, which the sanitizer does not know.)
pub(crate) fn acquire(count: &AtomicUsize) {
    count.load(Ordering::Acquire);
}

/// Nothing is moved across it.
pub(crate) fn full_fence() {
    #[cfg(not(towpath_loom))]
    std::sync::atomic::fence(Ordering::SeqCst);
    #[cfg(towpath_loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}
