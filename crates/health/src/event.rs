//! What probes find out, and what is made of it.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};
use tokio::time::Instant;
use towpath_core::Endpoint;

/// Why a probe failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ProbeError {
    /// It had no outcome within this time.
    TimedOut(Duration),
    /// What it failed with itself.
    Failed(Arc<dyn StdError + Send + Sync>),
    /// It panicked, which is a defect of it.
    Panicked,
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::TimedOut(waited) => write!(f, "no answer within {waited:?}"),
            ProbeError::Failed(error) => error.fmt(f),
            ProbeError::Panicked => f.write_str("the probe panicked, which is a defect of it"),
        }
    }
}

impl StdError for ProbeError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            ProbeError::Failed(error) => Some(&**error),
            _ => None,
        }
    }
}

/// What a [`HealthChecker`](crate::HealthChecker) reports through [`Observe`](towpath_core::Observe).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HealthEvent {
    /// An endpoint was probed.
    Probed {
        /// Which one.
        endpoint: Endpoint,
        /// How long it took.
        took: Duration,
        /// Why it failed; `None`: it did not.
        error: Option<ProbeError>,
    },
    /// An endpoint is unhealthy, or healthy again. Its state says so already.
    Changed {
        /// Which one.
        endpoint: Endpoint,
        /// Whether it is healthy now.
        healthy: bool,
        /// How many probes in a row had this outcome.
        row: u32,
        /// Why the last one failed.
        error: Option<ProbeError>,
    },
}

/// How an endpoint is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointHealth {
    /// Which one.
    pub endpoint: Endpoint,
    /// Whether it is taken for healthy.
    pub healthy: bool,
    /// How many of the last probes in a row had the outcome of the last one; 0: it was not probed yet.
    pub row: u32,
    /// The last probe that has ended.
    pub last: Option<LastProbe>,
    /// When it is probed next; `None`: it is being probed.
    pub next: Option<Instant>,
}

/// A probe that has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LastProbe {
    /// When it ended.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
    /// Why it failed; `None`: it did not.
    pub error: Option<ProbeError>,
}

/// All endpoints of a checker together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthCounts {
    /// How many there are.
    pub endpoints: usize,
    /// How many of them are unhealthy.
    pub unhealthy: usize,
    /// How many are being probed.
    pub under_way: usize,
    /// For how long the one that waits longest has waited beyond its time: above a second or so, `concurrency` is too small.
    pub late: Duration,
    /// How many probes have ended so far.
    pub probes: u64,
    /// How many of them failed.
    pub failed: u64,
}
