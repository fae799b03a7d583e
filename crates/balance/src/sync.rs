//! The atomics that decide: the standard library's, or loom's where every order of what threads do is tried
//! (`--cfg towpath_loom`).

#[cfg(towpath_loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU64};
#[cfg(not(towpath_loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU64};
