//! What can be seen of a layer while it runs.

use crate::{TraceConfig, state::Counts};
use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};
use towpath_core::Live;

/// A handle to what all services of one [`TraceLayer`](crate::TraceLayer) share.
#[derive(Clone)]
pub struct TraceHandle {
    pub(crate) config: Live<TraceConfig>,
    pub(crate) counts: Arc<Counts>,
}

/// What became of calls that were not sampled and were worth keeping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceCounts {
    /// They were kept.
    pub kept: u64,
    /// They were left out: there were more than [`keep_per_second`](crate::TraceOptions::keep_per_second).
    pub left_out: u64,
}

impl TraceHandle {
    /// Which calls are recorded; it can be replaced.
    pub fn config(&self) -> &Live<TraceConfig> {
        &self.config
    }

    /// How many calls were kept, since the layer was made.
    pub fn counts(&self) -> TraceCounts {
        TraceCounts { kept: self.counts.kept.load(Relaxed), left_out: self.counts.left_out.load(Relaxed) }
    }
}

impl fmt::Debug for TraceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceHandle").field("config", &self.config).field("counts", &self.counts()).finish()
    }
}
