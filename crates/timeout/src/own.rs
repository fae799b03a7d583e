//! A layer's own limit, as one of its services has read it.

use crate::TimeoutConfig;
use std::time::Duration;
use towpath_core::Live;

/// To ask for it costs one load, unless the config was replaced; a clone is one reference count.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    live: Live<TimeoutConfig>,
    version: u64,
    timeout: Duration,
}

impl Own {
    pub(crate) fn new(live: Live<TimeoutConfig>) -> Self {
        // The version first: if the config is replaced between the two, the next call reads it again.
        let version = live.version();
        let timeout = live.get().timeout();
        Own { live, version, timeout }
    }

    #[inline]
    pub(crate) fn timeout(&mut self) -> Duration {
        if self.live.version() != self.version {
            self.refresh();
        }
        self.timeout
    }

    #[cold]
    fn refresh(&mut self) {
        *self = Own::new(self.live.clone());
    }
}
