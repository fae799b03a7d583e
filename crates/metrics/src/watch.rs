//! What is read from handles when it is asked for.

use crate::{hub::Hub, names::*};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use towpath_balance::BalanceHandle;
use towpath_breaker::{Breakers, State};
use towpath_dedupe::DedupeHandle;
use towpath_discover::NameHandle;
use towpath_limit::{AdmissionHandle, ConcurrencyHandle};
use towpath_pool::PoolStats;
use towpath_retry::RetryHandle;

type Read = Arc<dyn Fn(&Gauges<'_>) + Send + Sync>;

/// What reads handles with each [`refresh`](crate::Metrics::refresh); and the names of all targets.
#[derive(Default)]
pub(crate) struct Watches(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    next: u64,
    reads: Vec<(u64, Arc<str>, Read)>,
    targets: BTreeSet<Arc<str>>,
}

/// Goes on until it is dropped.
#[must_use = "it ends when it is dropped"]
pub struct Watching {
    watches: Arc<Watches>,
    id: u64,
}

/// Sets the gauges of one target from the handles of its layers.
pub struct Gauges<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) target: &'a str,
}

impl Watches {
    pub(crate) fn add(self: &Arc<Self>, target: Arc<str>, read: Read) -> Watching {
        let mut inner = self.lock();
        let id = inner.next;
        inner.next += 1;
        inner.reads.push((id, target, read));
        Watching { watches: self.clone(), id }
    }

    pub(crate) fn all(&self) -> Vec<(Arc<str>, Read)> {
        self.lock().reads.iter().map(|(_, target, read)| (target.clone(), read.clone())).collect()
    }

    /// The name, if it is known, or is among the first so many.
    pub(crate) fn target(&self, target: Arc<str>, max: usize) -> Option<Arc<str>> {
        let mut inner = self.lock();
        if let Some(known) = inner.targets.get(&target) {
            return Some(known.clone());
        }
        let room = inner.targets.len() < max;
        room.then(|| {
            inner.targets.insert(target.clone());
            target
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut inner = self.watches.lock();
        let found = inner.reads.iter().position(|(id, ..)| *id == self.id);
        let read = found.map(|place| inner.reads.swap_remove(place));
        drop(inner);
        // What it holds is foreign, and dropped without the lock.
        drop(read);
    }
}

impl Gauges<'_> {
    /// What is left of the budget of retries.
    pub fn retry(&self, retry: &RetryHandle) {
        self.set(&BUDGET, &[], retry.balance() as f64);
    }

    /// The state of each breaker.
    pub fn breakers(&self, breakers: &Breakers) {
        for breaker in breakers.all() {
            self.set(&BREAKER_STATE, &[breaker.name()], state(breaker.state()));
        }
    }

    /// What a concurrency limit has let in.
    pub fn concurrency(&self, limit: &ConcurrencyHandle) {
        self.limit("concurrency", limit.in_flight(), limit.waiting(), limit.limit());
    }

    /// What admission has let in.
    pub fn admission(&self, limit: &AdmissionHandle) {
        self.limit("admission", limit.in_flight(), limit.waiting(), limit.limit());
    }

    fn limit(&self, name: &str, in_flight: u32, waiting: u32, ceiling: u32) {
        self.set(&LIMIT_IN_FLIGHT, &[name], in_flight.into());
        self.set(&LIMIT_WAITING, &[name], waiting.into());
        self.set(&LIMIT_CEILING, &[name], ceiling.into());
    }

    /// How many answers are kept, and how much memory they take.
    pub fn dedupe<Res: Clone>(&self, dedupe: &DedupeHandle<Res>) {
        self.set(&DEDUPE_KEYS, &[], dedupe.keys() as f64);
        self.set(&DEDUPE_BYTES, &[], dedupe.bytes() as f64);
    }

    /// The endpoints of a balancer, and how many calls each got.
    pub fn balance(&self, balance: &BalanceHandle) {
        let counts = balance.counts();
        let states = [
            ("known", counts.known),
            ("ready", counts.ready),
            ("connecting", counts.connecting),
            ("ejected", counts.ejected),
            ("unhealthy", counts.unhealthy),
            ("draining", counts.draining),
            ("idle", counts.idle),
        ];
        for (state, count) in states {
            self.set(&ENDPOINTS, &[state], count.into());
        }
        self.set(&PANICKING, &[], if balance.is_panicking() { 1.0 } else { 0.0 });
        for view in balance.endpoints() {
            let labels = [self.target, view.endpoint.address()];
            self.hub.count_to(&PICKS, &labels, view.picks);
        }
    }

    /// The connections of a target, all its pools together.
    pub fn pools(&self, pools: impl IntoIterator<Item = PoolStats>) {
        let (mut open, mut idle, mut connecting, mut waiting, mut in_flight) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for pool in pools {
            open += f64::from(pool.open);
            idle += f64::from(pool.idle);
            connecting += f64::from(pool.connecting);
            waiting += f64::from(pool.waiting);
            in_flight += pool.in_flight as f64;
        }
        for (state, count) in [("open", open), ("idle", idle), ("connecting", connecting)] {
            self.set(&POOL_CONNECTIONS, &[state], count);
        }
        self.set(&POOL_WAITING, &[], waiting);
        self.set(&POOL_IN_FLIGHT, &[], in_flight);
    }

    /// What discovery knows of a name, and for how long it has known nothing newer.
    pub fn discovery(&self, name: &NameHandle) {
        let status = name.status();
        self.set(&DISCOVERY_ENDPOINTS, &[], status.snapshot.endpoints().len() as f64);
        self.set(&DISCOVERY_FAILING, &[], status.failures.into());
        if let Some(answered) = status.answered {
            self.set(&DISCOVERY_AGE, &[], answered.elapsed().as_secs_f64());
        }
    }

    fn set(&self, metric: &Metric, more: &[&str], value: f64) {
        let mut labels = vec![self.target];
        labels.extend(more);
        self.hub.set(metric, &labels, value);
    }
}

/// As a number, for who has to draw it.
pub(crate) fn state(state: State) -> f64 {
    match state {
        State::Closed => 0.0,
        State::HalfOpen => 1.0,
        State::Open => 2.0,
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Gauges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauges").field("target", &self.target).finish_non_exhaustive()
    }
}
