//! How long calls wait for a connection.

use crate::{hub::Hub, names::POOL_ACQUIRE, timing::Timing};
use metrics::Histogram;
use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

/// The waits of all targets. They stay when clients are gone, as counts do.
#[derive(Default)]
pub(crate) struct Waits(Mutex<Vec<Arc<Waited>>>);

/// The waits of one target.
pub(crate) struct Waited {
    pub(crate) target: Arc<str>,
    pub(crate) timing: Timing,
    handle: OnceLock<Histogram>,
    /// Who adds those that did not wait.
    settling: Mutex<()>,
}

impl Waits {
    pub(crate) fn all(&self) -> Vec<Arc<Waited>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those of one target.
    pub(crate) fn of(&self, target: &Arc<str>) -> Arc<Waited> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.iter().find(|known| known.target == *target) {
            return known.clone();
        }
        let (target, timing) = (target.clone(), Timing::new());
        let waited = Arc::new(Waited { target, timing, handle: OnceLock::new(), settling: Mutex::default() });
        all.push(waited.clone());
        waited
    }

    /// Passes on what is new.
    pub(crate) fn refresh(&self, hub: &Hub) {
        for waited in self.all() {
            let handle = waited.handle.get_or_init(|| hub.histogram(&POOL_ACQUIRE, &[&waited.target]));
            for bucket in waited.timing.take().into_iter().filter(|bucket| bucket.count > 0) {
                handle.record_many(bucket.mean(), bucket.count as usize);
            }
        }
    }
}

impl Waited {
    /// A call got a connection after it had waited.
    pub(crate) fn add(&self, took: Duration) {
        self.timing.add(took);
    }

    /// So many calls were sent in all: those that have not waited took no time.
    pub(crate) fn of_all(&self, calls: u64) {
        let _alone = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.timing.count();
        // One that has waited is known before it is sent: what lacks has not waited.
        self.timing.add_zeros(calls.saturating_sub(known));
    }
}
