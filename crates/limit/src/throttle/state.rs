//! What all services of a layer share, and what it looks like from outside.

use super::{ThrottleConfig, lanes::Lanes};
use std::{fmt, sync::Arc};
use tokio::time::Instant;
use towpath_core::{Live, Priority};

/// A throttle, with what its layer was told to ask, to answer and to report.
pub(super) struct State<C, R, O> {
    pub(super) lanes: Arc<Lanes>,
    pub(super) classify: C,
    pub(super) reject: R,
    pub(super) observe: O,
}

/// A throttle, seen from outside: [`ThrottleLayer::handle`](super::ThrottleLayer::handle).
#[derive(Clone)]
pub struct ThrottleHandle(pub(super) Arc<Lanes>);

impl ThrottleHandle {
    /// Which share of the calls is held back at `now`, of all priorities together.
    pub fn share(&self, now: Instant) -> f64 {
        self.0.share(now)
    }

    /// Which share of the calls of one priority is held back at `now`.
    pub fn share_of(&self, priority: Priority, now: Instant) -> f64 {
        self.0.of(priority).share(now)
    }

    /// How many calls there were within the window, those that were held back among them.
    pub fn calls(&self) -> u64 {
        self.0.window().0
    }

    /// How many of them the service accepted.
    pub fn accepted(&self) -> u64 {
        self.0.window().1
    }

    /// The config. To replace it has effect when the share is worked out next: with the next call while calls are
    /// held back, otherwise when the service refuses one. Another window begins empty.
    pub fn config(&self) -> &Live<ThrottleConfig> {
        &self.0.config
    }
}

impl fmt::Debug for ThrottleHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (calls, accepted) = self.0.window();
        f.debug_struct("ThrottleHandle")
            .field("calls", &calls)
            .field("accepted", &accepted)
            .finish_non_exhaustive()
    }
}
