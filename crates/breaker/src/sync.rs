//! The lock and the atomics that decide: the standard library's, or loom's where every order of what threads do
//! is tried (`--cfg towpath_loom`).

#[cfg(towpath_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
#[cfg(not(towpath_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
