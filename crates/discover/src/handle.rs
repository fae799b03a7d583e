//! To look at what a directory knows.

use crate::{
    Snapshot,
    shared::{Report, Shared},
};
use std::{fmt, sync::Arc};
use tokio::time::Instant;
use towpath_core::Error;

/// To look at a name, and to have its source asked at once. Clones are the same; none keeps the source going.
#[derive(Clone)]
pub struct NameHandle(Arc<Shared>);

/// A name at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NameStatus {
    /// The endpoints.
    pub snapshot: Arc<Snapshot>,
    /// When the source answered last; `None`: never.
    pub answered: Option<Instant>,
    /// How often in a row it has failed since.
    pub failures: u32,
    /// With what it failed last, if it has not answered since.
    pub error: Option<Error>,
    /// When it is asked again after a failure.
    pub next_try: Option<Instant>,
    /// Until when the endpoints stay although the source says that there are none.
    pub doubted_until: Option<Instant>,
    /// Whether the source has nothing more to say.
    pub ended: bool,
}

impl NameHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        NameHandle(shared)
    }

    /// What is watched: most often a URL.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Where the source looks, in its own words.
    pub fn about(&self) -> &str {
        &self.0.about
    }

    /// All there is to say of it at this moment.
    pub fn status(&self) -> NameStatus {
        let state = self.0.lock();
        let Report { failed: _, failures, answered, error, next_try, doubted_until } = state.report.clone();
        let (snapshot, ended) = (state.snapshot.clone(), state.ended);
        NameStatus { snapshot, answered, failures, error, next_try, doubted_until, ended }
    }

    /// Has the source asked at once, whatever it waits for: its time, or the end of a backoff.
    pub fn refresh(&self) {
        self.0.refresh.notify_one();
    }
}

impl fmt::Debug for NameHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameHandle").field("name", self.name()).field("status", &self.status()).finish()
    }
}
