//! What all services of a layer share, and what it looks like from outside.

use super::{
    RateConfig,
    gcra::{Place, TICKS_PER_NANO, Ticks},
    keys::KeyHasher,
    table::Table,
};
use crate::sync::AtomicU64;
use std::{
    fmt,
    hash::Hasher,
    sync::{
        Arc, OnceLock,
        atomic::Ordering::{Acquire, Relaxed, Release},
    },
    time::Duration,
};
use tokio::time::Instant;
use towpath_core::{Live, Tally};

pub(super) struct Core {
    pub(super) config: Live<RateConfig>,
    /// When tick 0 was.
    base: OnceLock<Instant>,
    /// The theoretical arrival time of the next call, where all have one rate.
    next: AtomicU64,
    /// Those of the keys.
    table: Option<Table>,
    refused: Tally,
}

/// What is decided about a call.
pub(super) enum Decision {
    Now,
    /// When it has waited so long. What it holds until then.
    Later(Duration, Booking),
    /// It conforms no earlier than after this time.
    Refused(Duration),
}

/// A place that was taken ahead of its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Booking {
    key: Option<u64>,
    next: Ticks,
}

impl Core {
    pub(super) fn new(config: Live<RateConfig>, table: Option<Table>) -> Arc<Self> {
        let (base, next, refused) = (OnceLock::new(), AtomicU64::new(0), Tally::new());
        Arc::new(Core { config, base, next, table, refused })
    }

    /// The hash of a key, if keys are told apart.
    #[inline]
    pub(super) fn key(&self, feed: impl FnOnce(&mut KeyHasher)) -> Option<u64> {
        self.table.as_ref().map(|table| {
            let mut key = KeyHasher(table.hasher());
            feed(&mut key);
            key.finish()
        })
    }

    /// Decides about a call that comes at `now` and can wait for `patience`.
    #[inline]
    pub(super) fn decide(
        &self,
        config: &RateConfig,
        key: Option<u64>,
        now: Instant,
        patience: Duration,
    ) -> Decision {
        let now = ticks(now.saturating_duration_since(*self.base.get_or_init(|| now)));
        // To the tick, and not above what is granted.
        let patience = if patience.is_zero() { 0 } else { ticks(patience) };
        let take = |next| {
            let place = config.gcra().place(next, now);
            ((place.wait <= patience).then_some(place.next), place)
        };
        let place = match (&self.table, key) {
            (Some(table), Some(key)) => table.change(key, config.max_keys(), now, take),
            _ => self.change(take),
        };
        match place.wait {
            0 => Decision::Now,
            wait if wait <= patience => Decision::Later(duration(wait), Booking { key, next: place.next }),
            wait => Decision::Refused(duration(wait)),
        }
    }

    /// A call that was to wait does not come: its place is free again, unless others stand behind it already, who
    /// were told their times.
    pub(super) fn undo(&self, booking: Booking) {
        let config = self.config.get();
        let undo = |next| ((next == booking.next).then(|| config.gcra().undo(next)), ());
        match (&self.table, booking.key) {
            (Some(table), Some(key)) => table.change(key, config.max_keys(), booking.next, undo),
            _ => {
                let undone = config.gcra().undo(booking.next);
                let _ = self.next.compare_exchange(booking.next, undone, Release, Relaxed);
            }
        }
    }

    #[inline]
    fn change(&self, change: impl Fn(Ticks) -> (Option<Ticks>, Place)) -> Place {
        let mut next = self.next.load(Acquire);
        loop {
            let (after, place) = change(next);
            let Some(after) = after else { return place };
            match self.next.compare_exchange_weak(next, after, Release, Acquire) {
                Ok(_) => return place,
                Err(now) => next = now,
            }
        }
    }

    pub(super) fn count_refusal(&self) {
        self.refused.add(0, 1);
    }
}

#[inline]
fn ticks(duration: Duration) -> Ticks {
    (duration.as_secs() * 1_000_000_000 + u64::from(duration.subsec_nanos())).wrapping_mul(TICKS_PER_NANO)
}

/// Rounded up: who waits so long is not too early.
fn duration(ticks: Ticks) -> Duration {
    Duration::from_nanos(ticks.div_ceil(TICKS_PER_NANO))
}

/// A rate limit, seen from outside: [`RateLimitLayer::handle`](super::RateLimitLayer::handle).
#[derive(Clone)]
pub struct RateHandle(pub(super) Arc<Core>);

impl RateHandle {
    /// How many calls were refused since the layer was made.
    pub fn refused(&self) -> u64 {
        self.0.refused.total(0)
    }

    /// How many keys are known; 0 where all calls have one rate.
    pub fn keys(&self) -> usize {
        self.0.table.as_ref().map_or(0, Table::len)
    }

    /// The config. To replace it has effect from the next call on; calls that wait keep the times that they have.
    pub fn config(&self) -> &Live<RateConfig> {
        &self.0.config
    }

    /// How long after heavy use, and without a call, the whole burst is there again.
    pub fn recovery(&self) -> Duration {
        duration(self.0.config.get().gcra().recovery())
    }
}

impl fmt::Debug for RateHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateHandle")
            .field("config", &self.0.config.get())
            .field("refused", &self.refused())
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}

/// A limit, with what its layer was told to answer and to report.
pub(super) struct State<R, O> {
    pub(super) core: Arc<Core>,
    pub(super) reject: R,
    pub(super) observe: O,
}
