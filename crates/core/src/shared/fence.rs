//! A fence of which one side is all but free.
//!
//! Two threads, each of which writes one thing and then reads what the other one writes, can both read the old
//! value unless each has a full fence in between, which costs as much as a locked instruction. Where one side is
//! rare, that side can make all other threads of the process fence instead: on Linux by `membarrier(2)`; the same is
//! done by liburcu and by folly's `asymmetricThreadFence`. Where the system cannot, both sides fence.

use crate::sync::full_fence;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether the rare side fences for both.
static ASYMMETRIC: AtomicBool = AtomicBool::new(false);

/// Asks the system, once, whether it can. Before the first use of what the fence is for.
pub(super) fn prepare() {
    static ASKED: std::sync::Once = std::sync::Once::new();
    ASKED.call_once(|| ASYMMETRIC.store(barrier::register(), Relaxed));
}

/// The side that is used often.
#[inline]
pub(super) fn light() {
    if ASYMMETRIC.load(Relaxed) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    } else {
        full_fence();
    }
}

/// The side that is used seldom: some microseconds.
pub(super) fn heavy() {
    full_fence();
    if ASYMMETRIC.load(Relaxed) {
        barrier::run();
    }
}

#[cfg(all(target_os = "linux", not(miri), not(towpath_loom)))]
mod barrier {
    use rustix::thread::{MembarrierCommand, MembarrierQuery, membarrier, membarrier_query};

    pub(super) fn register() -> bool {
        let can = membarrier_query();
        can.contains(MembarrierQuery::PRIVATE_EXPEDITED)
            && can.contains(MembarrierQuery::REGISTER_PRIVATE_EXPEDITED)
            && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
            && membarrier(MembarrierCommand::PrivateExpedited).is_ok()
    }

    pub(super) fn run() {
        // Once registered it does not fail (a child of fork inherits that).
        let _ = membarrier(MembarrierCommand::PrivateExpedited);
    }
}

#[cfg(any(not(target_os = "linux"), miri, towpath_loom))]
mod barrier {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn run() {}
}
