//! Which answers were kept just now, to be asked without a lock.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use std::time::Duration;
use tokio::time::Instant;

/// Places. Two busy keys in one place keep their answers more often than need be, no more harm than that.
const PLACES: usize = 256;

/// For each of some recent keys, the period in which its answer was kept. To ask is two loads; what it says wrongly
/// (by chance, once in 2^32 keys) is that an answer was kept which is kept with the next period.
#[derive(Debug)]
pub(crate) struct Recent {
    base: OnceLock<Instant>,
    /// Half of a key and the period, 32 bits each.
    places: Box<[AtomicU64]>,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Recent { base: OnceLock::new(), places: (0..PLACES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether the answer to this call was kept in this period already; if not, it counts as kept from now on.
    pub(crate) fn is_kept(&self, key: u128, now: Instant, period: Duration) -> bool {
        if period.is_zero() {
            return false;
        }
        let base = *self.base.get_or_init(|| now);
        let elapsed = now.saturating_duration_since(base).as_nanos();
        // From 1: zero is an empty place.
        let period = (elapsed / period.as_nanos()) as u64 + 1;
        let word = (key as u64) << 32 | (period & 0xffff_ffff);
        let Some(place) = self.places.get((key >> 64) as usize % PLACES) else { return false };
        if place.load(Relaxed) == word {
            return true;
        }
        place.store(word, Relaxed);
        false
    }

    pub(crate) fn clear(&self) {
        self.places.iter().for_each(|place| place.store(0, Relaxed));
    }
}
