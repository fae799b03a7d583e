//! The lock and the flags that callers, handlers and drivers share: the standard library's, or loom's where
//! every order of what threads do is tried (`--cfg towpath_loom`; see `docs/proof.md`).
//!
//! The cfg is our own because `--cfg loom` would reach tokio too, which then has no clock to wait by.

#[cfg(towpath_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic::AtomicBool};
#[cfg(not(towpath_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicBool};
