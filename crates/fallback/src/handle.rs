//! What can be seen and changed from outside, while calls are made.

use crate::{End, FallbackConfig};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use towpath_core::Live;

/// Reads what a [`FallbackLayer`](crate::FallbackLayer) has done, and replaces its config. Of a layer that keeps
/// good answers, see [`LastGoodHandle`](crate::LastGoodHandle), too.
#[derive(Clone, Debug)]
pub struct FallbackHandle {
    pub(crate) counts: Arc<Counts>,
    pub(crate) config: Live<FallbackConfig>,
}

/// What came of the calls that failed, since the layer was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackCounts {
    /// They were answered with something else.
    pub answered: u64,
    /// There was nothing to answer with.
    pub nothing: u64,
    /// To make an answer has failed, too.
    pub failed: u64,
    /// The deadline came first.
    pub out_of_time: u64,
}

impl FallbackHandle {
    /// What was counted.
    pub fn counts(&self) -> FallbackCounts {
        let Counts { answered, nothing, failed, out_of_time } = &*self.counts;
        FallbackCounts {
            answered: answered.load(Relaxed),
            nothing: nothing.load(Relaxed),
            failed: failed.load(Relaxed),
            out_of_time: out_of_time.load(Relaxed),
        }
    }

    /// The config, to read it or to replace it.
    pub fn config(&self) -> &Live<FallbackConfig> {
        &self.config
    }
}

/// Counted on failures only.
#[derive(Default)]
pub(crate) struct Counts {
    answered: AtomicU64,
    nothing: AtomicU64,
    failed: AtomicU64,
    out_of_time: AtomicU64,
}

impl Counts {
    pub(crate) fn add(&self, end: End) {
        let count = match end {
            End::Answered => &self.answered,
            End::Nothing => &self.nothing,
            End::Failed => &self.failed,
            End::OutOfTime => &self.out_of_time,
        };
        count.fetch_add(1, Relaxed);
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").field("answered", &self.answered).finish_non_exhaustive()
    }
}
