//! What can be seen and changed from outside, while calls are made.

use super::{config::EnoughTimeConfig, state::State};
use std::time::Duration;
use towpath_core::{Live, Shared};

/// Reads what an [`EnoughTimeLayer`](crate::EnoughTimeLayer) has done, and replaces its config.
#[derive(Clone, Debug)]
pub struct EnoughTimeHandle(pub(crate) Shared<State>);

/// What was counted since the layer was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnoughTimeCounts {
    /// Calls that came.
    pub calls: u64,
    /// Calls that had too little time left and were refused.
    pub refused: u64,
    /// Calls that had too little time left and were let through, because enough were refused.
    pub spared: u64,
}

impl EnoughTimeHandle {
    /// What was counted.
    pub fn counts(&self) -> EnoughTimeCounts {
        let (calls, refused, spared) = self.0.counts();
        EnoughTimeCounts { calls, refused, spared }
    }

    /// What calls have taken lately (the configured quantile), in the group that takes longest; `None` if not
    /// enough were observed.
    pub fn usual(&self) -> Option<Duration> {
        self.0.longest_usual()
    }

    /// The config, to read it or to replace it.
    pub fn config(&self) -> &Live<EnoughTimeConfig> {
        &self.0.config
    }
}
