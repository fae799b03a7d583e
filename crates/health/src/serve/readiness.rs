//! Whether a server should get calls, as it says itself.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Acquire, Ordering::Release},
    },
};

const NOT_READY: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// Whether a server should get calls: the switch of its `/readyz`. Clones are the same.
///
/// ```
/// use towpath_health::{Readiness, ReadyState};
/// let readiness = Readiness::starting();
/// readiness.set_ready(true);
/// assert!(readiness.is_ready());
/// readiness.drain();
/// readiness.set_ready(true);
/// assert_eq!(readiness.state(), ReadyState::Draining, "this is final");
/// ```
#[derive(Clone)]
pub struct Readiness(Arc<AtomicU8>);

/// Whether a server should get calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadyState {
    /// Not yet, or not for now.
    NotReady,
    /// Yes.
    Ready,
    /// Not any more: it finishes what it has. This is final.
    Draining,
}

impl Readiness {
    /// Ready from the start.
    pub fn ready() -> Self {
        Readiness(Arc::new(AtomicU8::new(READY)))
    }

    /// Not ready until [`set_ready`](Self::set_ready) says so.
    pub fn starting() -> Self {
        Readiness(Arc::new(AtomicU8::new(NOT_READY)))
    }

    /// It should get calls, or should not for now. Of no effect when it drains.
    pub fn set_ready(&self, ready: bool) {
        let state = if ready { READY } else { NOT_READY };
        // If it drains, it goes on to.
        let _ = self.0.fetch_update(Release, Acquire, |now| (now != DRAINING).then_some(state));
    }

    /// It should get no calls any more.
    pub fn drain(&self) {
        self.0.store(DRAINING, Release);
    }

    /// Whether it should get calls.
    pub fn is_ready(&self) -> bool {
        self.state() == ReadyState::Ready
    }

    /// All there is to say.
    pub fn state(&self) -> ReadyState {
        match self.0.load(Acquire) {
            NOT_READY => ReadyState::NotReady,
            READY => ReadyState::Ready,
            _ => ReadyState::Draining,
        }
    }
}

/// Ready from the start.
impl Default for Readiness {
    fn default() -> Self {
        Readiness::ready()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readiness").field(&self.state()).finish()
    }
}
