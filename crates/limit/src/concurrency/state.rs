//! What all services of a layer share, and what it looks like from outside.

use super::{ConcurrencyConfig, QueueOrder, WhenFull};
use crate::{
    Refusal,
    gate::{Gate, Line, Order},
    refuse::NoRoom,
    sync::{AtomicU32, Mutex, lock},
};
use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use towpath_core::{Live, Tally};

/// The rank of every call: here all are alike.
pub(super) const RANK: u8 = 0;

const REJECT: u32 = 0;
const WAIT: u32 = 1;
const BACKPRESSURE: u32 = 2;

pub(super) struct Core {
    gate: Gate,
    config: Live<ConcurrencyConfig>,
    /// `when_full` of the config, for the path of every call.
    mode: AtomicU32,
    refused: Tally,
    /// One config is applied after the other.
    applying: Mutex<()>,
}

impl Core {
    pub(super) fn new(config: Live<ConcurrencyConfig>) -> Arc<Self> {
        let core = Arc::new(Core {
            gate: Gate::new([0; 8]),
            config,
            mode: AtomicU32::new(REJECT),
            refused: Tally::new(),
            applying: Mutex::new(()),
        });
        core.apply();
        let weak = Arc::downgrade(&core);
        core.config.listen(move || weak.upgrade().map(|core| core.apply()).is_some());
        core
    }

    /// Does what the config says, from here on.
    fn apply(&self) {
        let _one = lock(&self.applying);
        let config = self.config.get();
        let mode = match config.when_full() {
            WhenFull::Reject => REJECT,
            WhenFull::Wait { .. } => WAIT,
            WhenFull::Backpressure => BACKPRESSURE,
        };
        self.mode.store(mode, Relaxed);
        self.gate.set_room([config.limit(); 8]);
    }

    #[inline]
    pub(super) fn has_backpressure(&self) -> bool {
        self.mode.load(Relaxed) == BACKPRESSURE
    }

    /// How a call may wait; `None` if it may not.
    pub(super) fn line(&self) -> Option<(Line, Duration)> {
        match self.config.get().when_full() {
            WhenFull::Wait { queue, timeout, order } => {
                Some((Line { most: queue, order: order.into() }, timeout))
            }
            WhenFull::Reject | WhenFull::Backpressure => None,
        }
    }

    /// Counts a refusal, and says what there is to say about it.
    pub(super) fn refuse(&self, why: Refusal, waited: Duration) -> NoRoom {
        self.refused.add(0, 1);
        let config = self.config.get();
        NoRoom { why, waited, retry_after: config.retry_after(), limit: config.limit() }
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl From<QueueOrder> for Order {
    fn from(order: QueueOrder) -> Self {
        match order {
            QueueOrder::OldestFirst => Order::OldestFirst,
            QueueOrder::NewestFirst => Order::NewestFirst,
        }
    }
}

/// A limit, with what its layer was told to answer and to report.
pub(super) struct State<R, O> {
    pub(super) core: Arc<Core>,
    pub(super) reject: R,
    pub(super) observe: O,
}

impl<R, O> AsRef<Gate> for State<R, O> {
    fn as_ref(&self) -> &Gate {
        &self.core.gate
    }
}

/// A concurrency limit, seen from outside: [`ConcurrencyLimitLayer::handle`](super::ConcurrencyLimitLayer::handle).
///
/// All that it tells is of one moment, and may have changed when it is read.
#[derive(Clone)]
pub struct ConcurrencyHandle(pub(super) Arc<Core>);

impl ConcurrencyHandle {
    /// How many calls may be in flight.
    pub fn limit(&self) -> u32 {
        self.0.gate.room(RANK)
    }

    /// How many are. More than the limit if that was lowered under way. Clones of the service that were readied
    /// under backpressure count.
    pub fn in_flight(&self) -> u32 {
        self.0.gate.in_flight()
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.0.gate.waiting()
    }

    /// How many were refused since the layer was made.
    pub fn refused(&self) -> u64 {
        self.0.refused.total(0)
    }

    /// The config. To replace it has effect at once: under a raised limit those who wait go on; under a
    /// lowered one no call begins until enough have ended.
    pub fn config(&self) -> &Live<ConcurrencyConfig> {
        &self.0.config
    }
}

impl fmt::Debug for ConcurrencyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyHandle")
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.waiting())
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}
