//! A pool, seen from outside.

use crate::{
    PoolConfig,
    state::{Core, Held, Life},
    store::{Counts, Store},
};
use std::{
    fmt,
    sync::{Arc, Weak},
};
use tokio::time::Instant;
use towpath_core::{Error, Live};

/// What a pool is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PoolState {
    /// It has a connection.
    Connected,
    /// It has none, and makes one.
    Connecting {
        /// Since when it has none.
        since: Instant,
        /// How the last connect failed, or how the last connection ended.
        last_error: Option<Error>,
        /// When the next connect is made; `None`: one is under way.
        next_try: Option<Instant>,
    },
    /// It has none until the next call: nobody has used it yet, nobody does any more, or the peer has closed one that nobody
    /// used.
    Idle,
    /// It was closed, or nobody has it any more.
    Closed,
}

/// A pool, seen from outside: its handle does not keep it alive.
///
/// All that it tells is of one moment, and may have changed when it is read.
#[derive(Clone)]
pub struct PoolHandle {
    name: Arc<str>,
    config: Live<PoolConfig>,
    seen: Arc<dyn Seen>,
}

/// A pool of whatever kind.
trait Seen: Send + Sync {
    fn see(&self) -> Option<(Life, Counts, PoolState)>;
}

impl<S: Store> Seen for Weak<Core<S>> {
    fn see(&self) -> Option<(Life, Counts, PoolState)> {
        let core = self.upgrade()?;
        Some((core.life(), core.store.counts(), core.state()))
    }
}

/// The numbers of a pool at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// The connections on which calls can be made.
    pub open: u32,
    /// Those of them on which none is.
    pub idle: u32,
    /// Connects under way.
    pub connecting: u32,
    /// Calls under way; of an exclusive pool, connections that are lent.
    pub in_flight: usize,
    /// Calls that wait for a connection.
    pub waiting: u32,
    /// Connects that succeeded since the pool was made.
    pub connects: u64,
    /// Connects that failed.
    pub failures: u64,
    /// Connections that ended by themselves, or were given up because they gave no sign of life.
    pub losses: u64,
}

impl PoolHandle {
    pub(crate) fn new<S: Store>(held: &Held<S>) -> Self {
        let core: &Arc<Core<S>> = held;
        let (name, config) = (core.target.name.clone(), core.target.config.clone());
        PoolHandle { name, config, seen: Arc::new(Arc::downgrade(core)) }
    }

    /// Where it leads to, as it is named in errors.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it is doing.
    pub fn state(&self) -> PoolState {
        self.seen.see().map_or(PoolState::Closed, |(.., state)| state)
    }

    /// Its numbers; zeros when it is no more.
    pub fn stats(&self) -> PoolStats {
        let Some((life, counts, _)) = self.seen.see() else { return PoolStats::default() };
        PoolStats {
            open: life.open,
            idle: counts.idle,
            connecting: life.connecting,
            in_flight: counts.in_flight,
            waiting: counts.waiting,
            connects: life.connects,
            failures: life.failures,
            losses: life.losses,
        }
    }

    /// The config. To replace it has effect at once: what is too many is closed, and what is missing is made.
    pub fn config(&self) -> &Live<PoolConfig> {
        &self.config
    }
}

impl fmt::Debug for PoolHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolHandle")
            .field("name", &self.name)
            .field("state", &self.state())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
