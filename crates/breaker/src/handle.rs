//! To look at breakers, and to open and close them by hand.

use crate::{
    BreakerConfig, Change, Counts, Mode, State,
    cell::{Cell, View},
    table::Table,
};
use std::{fmt, sync::Arc};
use tokio::{sync::watch, time::Instant};
use towpath_core::{Clock, Live};

/// One breaker, to look at and to open or close by hand. Clones are the same.
#[derive(Clone)]
pub struct BreakerHandle {
    table: Arc<Table>,
    place: u32,
}

/// All breakers of a [keyed](crate::BreakerLayer::keyed) layer. Clones are the same.
#[derive(Clone)]
pub struct Breakers(Arc<Table>);

/// A breaker at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// What it does with calls. Nobody waits for the open time to be over: it remains open until a call comes.
    pub state: State,
    /// Who decides about that.
    pub mode: Mode,
    /// Since when.
    pub since: Instant,
    /// Until when every call is turned away, if it is known.
    pub until: Option<Instant>,
    /// The calls in the window.
    pub window: Counts,
    /// Failures in a row, soft ones not counted.
    pub consecutive: u32,
    /// What was in the window when it opened last.
    pub tripped: Counts,
    /// How often it has changed.
    pub changes: u64,
}

impl BreakerHandle {
    pub(crate) fn new(table: Arc<Table>, place: u32) -> Self {
        BreakerHandle { table, place }
    }

    fn cell(&self) -> &Cell {
        self.table.at(self.place)
    }

    /// The key or the endpoint; empty for a breaker that has neither.
    pub fn name(&self) -> &Arc<str> {
        self.cell().name()
    }

    /// What it does with calls.
    pub fn state(&self) -> State {
        self.status().state
    }

    /// All there is to say of it at this moment.
    pub fn status(&self) -> Status {
        let View { state, mode, since, until, window, consecutive, tripped, changes } =
            self.cell().view(Clock::now());
        Status { state, mode, since, until, window, consecutive, tripped, changes }
    }

    /// How many calls it has turned away.
    pub fn rejected(&self) -> u64 {
        self.cell().rejected()
    }

    /// Opens it, until somebody says otherwise.
    pub fn force_open(&self) {
        self.cell().set_mode(Mode::ForcedOpen, Clock::now());
    }

    /// Closes it, until somebody says otherwise. It counts on.
    pub fn force_close(&self) {
        self.cell().set_mode(Mode::ForcedClosed, Clock::now());
    }

    /// Lets the outcomes of calls decide again. One that was opened by hand lets its probes through at once.
    pub fn automatic(&self) {
        self.cell().set_mode(Mode::Automatic, Clock::now());
    }

    /// A watch of its changes: the last one, and a wake-up for each that follows. Who is slow misses those
    /// between; [`Change::number`] tells how many.
    pub fn watch(&self) -> watch::Receiver<Option<Change>> {
        self.cell().watch()
    }

    /// The config that it shares with the layer's other breakers, to be replaced while they run.
    pub fn config(&self) -> &Live<BreakerConfig> {
        &self.table.settings().config
    }
}

impl Breakers {
    pub(crate) fn new(table: Arc<Table>) -> Self {
        Breakers(table)
    }

    /// The keys that came so far, in that order.
    pub fn keys(&self) -> Vec<Arc<str>> {
        self.0.cells().map(|(_, cell)| cell.name().clone()).collect()
    }

    /// The breakers of those keys.
    pub fn all(&self) -> Vec<BreakerHandle> {
        self.0.cells().map(|(place, _)| BreakerHandle::new(self.0.clone(), place)).collect()
    }

    /// The breaker of a key that came already.
    pub fn get(&self, key: &str) -> Option<BreakerHandle> {
        let place = self.0.find(key.as_bytes(), false)?;
        Some(BreakerHandle::new(self.0.clone(), place))
    }

    /// The breaker of a key; makes it if the key did not come yet, to open it in advance for example. `None` if
    /// there is no room for another key.
    pub fn get_or_make(&self, key: &str) -> Option<BreakerHandle> {
        let place = self.0.find(key.as_bytes(), true)?;
        Some(BreakerHandle::new(self.0.clone(), place))
    }

    /// The breaker that all keys share for which there was no room.
    pub fn overflow(&self) -> BreakerHandle {
        BreakerHandle::new(self.0.clone(), 0)
    }

    /// The config of all of them, to be replaced while they run.
    pub fn config(&self) -> &Live<BreakerConfig> {
        &self.0.settings().config
    }
}

impl fmt::Debug for BreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerHandle").field("name", self.name()).field("status", &self.status()).finish()
    }
}

impl fmt::Debug for Breakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakers").field("keys", &self.keys()).finish_non_exhaustive()
    }
}
