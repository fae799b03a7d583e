//! What a directory tells.

use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;
use towpath_core::Error;

/// Something that a [`Directory`](crate::Directory) found out or decided; reported through
/// [`Observe`](towpath_core::Observe).
#[derive(Clone, Debug)]
pub struct DiscoverEvent {
    /// The name that is watched: most often a URL.
    pub name: Arc<str>,
    /// What it was.
    pub what: What,
}

/// What a directory found out or decided about a name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum What {
    /// The set of endpoints is another one, or the first one.
    Changed(Changes),
    /// The source could not be asked, or said what makes no sense. The set stays as it is.
    Failed {
        /// Why.
        error: Error,
        /// How often in a row by now.
        failures: u32,
        /// After how long it is asked again.
        retry_in: Duration,
    },
    /// The source answers again.
    Recovered {
        /// After how many failures.
        failures: u32,
    },
    /// The source says that there are no endpoints any more; the last ones stay until then.
    EmptyDoubted {
        /// When it will be believed.
        until: Instant,
    },
    /// The source had endpoints again before its empty answer was believed.
    EmptyWithdrawn,
    /// Some of what the source said was not taken: instances out of bounds, or more than are allowed.
    Refused {
        /// How many.
        count: usize,
        /// Why the first of them was not.
        why: String,
    },
    /// The source has nothing more to say. The set stays as it is.
    Ended,
}

/// A new set of endpoints, compared with the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// How many there are now.
    pub endpoints: usize,
    /// How many are new.
    pub inserted: usize,
    /// How many are gone.
    pub removed: usize,
    /// How many are described anew: weight, zone, labels, draining.
    pub described: usize,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Changes { endpoints, inserted, removed, described } = self;
        write!(f, "{endpoints} endpoints: {inserted} new, {removed} gone, {described} described anew")
    }
}
