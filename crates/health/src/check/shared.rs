//! What a checker and its tasks have in common: the endpoints, and how they are doing.

use super::{
    judge::Judge,
    plan::{self, Plan},
};
use crate::{
    config::HealthConfig,
    event::{EndpointHealth, HealthCounts, HealthEvent, LastProbe, ProbeError},
    probe::Prober,
};
use fastrand::Rng;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{sync::Notify, task::AbortHandle, time::Instant};
use towpath_core::{Clock, Endpoint, EndpointId, EndpointStatus, Live, Observe};

/// Who is told of what happens.
pub(super) type Observer = Arc<dyn Observe<HealthEvent> + Send + Sync>;

pub(super) struct Shared {
    pub(super) live: Live<HealthConfig>,
    /// There is something to do earlier than was thought.
    pub(super) wake: Notify,
    observe: Observer,
    prototype: Box<dyn Prober>,
    state: Mutex<State>,
}

pub(super) struct State {
    endpoints: HashMap<EndpointId, Entry>,
    plan: Plan,
    rng: Rng,
    /// Tells a probe whose outcome is wanted from one of which the endpoint was removed meanwhile.
    turns: u64,
    probes: u64,
    failed: u64,
    pub(super) driver: Driver,
}

/// The task that begins the probes.
pub(super) enum Driver {
    /// Not yet, or not any more.
    None,
    Running(Option<AbortHandle>),
    /// The last handle is gone.
    Closed,
}

struct Entry {
    endpoint: Endpoint,
    judge: Judge,
    last: Option<LastProbe>,
    doing: Doing,
    /// Who wants it checked: somebody by hand, and so many streams.
    by_hand: bool,
    streams: usize,
}

enum Doing {
    /// Waits for its time; the prober as the last probe has left it.
    Waiting(Instant, Option<Box<dyn Prober>>),
    Probing {
        turn: u64,
        task: Option<AbortHandle>,
    },
}

/// Who wants an endpoint checked, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Hand,
    Stream,
    /// A stream that has told of this endpoint before.
    SameStream,
}

/// A probe that is to be made.
pub(super) struct Job {
    pub(super) endpoint: Endpoint,
    pub(super) turn: u64,
    pub(super) prober: Option<Box<dyn Prober>>,
}

/// A probe that has ended.
pub(super) struct Outcome {
    pub(super) id: EndpointId,
    pub(super) turn: u64,
    pub(super) began: Instant,
    pub(super) result: Result<Box<dyn Prober>, ProbeError>,
}

impl Shared {
    pub(super) fn new(prototype: Box<dyn Prober>, live: Live<HealthConfig>, observe: Observer) -> Self {
        let state = State {
            endpoints: HashMap::new(),
            plan: Plan::default(),
            rng: Rng::new(),
            turns: 0,
            probes: 0,
            failed: 0,
            driver: Driver::None,
        };
        Shared { live, wake: Notify::new(), observe, prototype, state: Mutex::new(state) }
    }

    /// Nothing foreign is called with it locked, and nothing awaited.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A prober that has asked nobody yet.
    pub(super) fn fresh(&self) -> Box<dyn Prober> {
        self.prototype.fresh()
    }

    /// Has an endpoint checked, or describes one anew.
    pub(super) fn add(&self, endpoint: &Endpoint, by: By) {
        let config = self.live.get();
        let mut state = self.lock();
        let State { endpoints, plan, rng, .. } = &mut *state;
        let mut sooner = false;
        let entry = endpoints.entry(endpoint.id()).or_insert_with(|| {
            let due = plan::first(Clock::now(), &config, rng);
            plan.add(endpoint.id(), due);
            sooner = plan.next() == Some(due);
            Entry {
                endpoint: endpoint.clone(),
                judge: Judge::new(config.initial),
                last: None,
                doing: Doing::Waiting(due, None),
                by_hand: false,
                streams: 0,
            }
        });
        entry.endpoint = endpoint.clone();
        match by {
            By::Hand => entry.by_hand = true,
            By::Stream => entry.streams += 1,
            By::SameStream => {}
        }
        drop(state);
        self.write(endpoint);
        if sooner {
            self.wake.notify_one();
        }
    }

    /// Has an endpoint checked no more, if nobody else wants it to be. Says whether it was.
    pub(super) fn remove(&self, id: EndpointId, by: By) -> bool {
        let mut state = self.lock();
        let Some(entry) = state.endpoints.get_mut(&id) else { return false };
        match by {
            By::Hand => entry.by_hand = false,
            By::Stream | By::SameStream => entry.streams = entry.streams.saturating_sub(1),
        }
        if entry.by_hand || entry.streams > 0 {
            return true;
        }
        let entry = state.take(id);
        drop(state);
        self.let_go(entry);
        true
    }

    /// Of those that are taken out, nobody knows any more that they are unhealthy.
    fn let_go(&self, entry: Option<Entry>) {
        let Some(entry) = entry else { return };
        if let Doing::Probing { task: Some(task), .. } = &entry.doing {
            task.abort();
        }
        self.write(&entry.endpoint);
    }

    /// Writes into the state of an endpoint what is thought of it. Several may do so at a time: the last one to write has
    /// seen the last verdict, since each looks again after it has written.
    fn write(&self, endpoint: &Endpoint) {
        let read =
            || self.lock().endpoints.get(&endpoint.id()).is_some_and(|entry| !entry.judge.is_healthy());
        let mut unhealthy = read();
        loop {
            endpoint.state().set_unhealthy(unhealthy);
            let now = read();
            if now == unhealthy {
                return;
            }
            unhealthy = now;
        }
    }

    /// The next probe that is due.
    pub(super) fn next_job(&self, now: Instant) -> Option<Job> {
        loop {
            let mut state = self.lock();
            let id = state.plan.take_due(now)?;
            state.turns += 1;
            let turn = state.turns;
            let Some(entry) = state.endpoints.get_mut(&id) else { continue };
            if entry.endpoint.state().status() == EndpointStatus::Gone {
                let entry = state.endpoints.remove(&id);
                drop(state);
                self.let_go(entry);
                continue;
            }
            let before = std::mem::replace(&mut entry.doing, Doing::Probing { turn, task: None });
            let endpoint = entry.endpoint.clone();
            let prober = match before {
                Doing::Waiting(_, prober) => prober,
                Doing::Probing { .. } => None,
            };
            return Some(Job { endpoint, turn, prober });
        }
    }

    /// A probe is under way in this task.
    pub(super) fn began(&self, id: EndpointId, of_turn: u64, by: AbortHandle) {
        let mut state = self.lock();
        match state.endpoints.get_mut(&id).map(|entry| &mut entry.doing) {
            Some(Doing::Probing { turn, task }) if *turn == of_turn => *task = Some(by),
            // It has ended already.
            Some(_) => {}
            None => {
                drop(state);
                by.abort();
            }
        }
    }

    /// A probe has ended.
    pub(super) fn ended(&self, outcome: Outcome) {
        let Outcome { id, turn: of_turn, began, result } = outcome;
        let config = self.live.get();
        let now = Clock::now();
        let (prober, error) = match result {
            Ok(prober) => (Some(prober), None),
            Err(error) => (None, Some(error)),
        };
        let mut state = self.lock();
        let State { endpoints, plan, rng, probes, failed, .. } = &mut *state;
        let Some(entry) = endpoints.get_mut(&id) else { return };
        if !matches!(entry.doing, Doing::Probing { turn, .. } if turn == of_turn) {
            return;
        }
        *probes += 1;
        *failed += u64::from(error.is_some());
        let changed = entry.judge.heard(error.is_none(), &config);
        let took = now - began;
        let before = entry.last.replace(LastProbe { at: now, took, error: error.clone() });
        let due = plan::again(began, now, entry.judge.in_doubt(), &config, rng);
        entry.doing = Doing::Waiting(due, prober);
        plan.add(id, due);
        let (endpoint, healthy, row) = (entry.endpoint.clone(), entry.judge.is_healthy(), entry.judge.row());
        drop(state);
        drop(before);
        if changed {
            self.write(&endpoint);
            match &error {
                Some(error) => {
                    tracing::warn!(%endpoint, %error, row, "health: an endpoint gets no calls, its probes fail")
                }
                None => tracing::info!(%endpoint, row, "health: an endpoint is healthy again"),
            }
        }
        self.observe.observe(&HealthEvent::Probed { endpoint: endpoint.clone(), took, error: error.clone() });
        if changed {
            self.observe.observe(&HealthEvent::Changed { endpoint, healthy, row, error });
        }
    }

    /// The config is another one: what was planned for a time beyond it is planned anew.
    pub(super) fn replan(&self) {
        let (config, now) = (self.live.get(), Clock::now());
        let latest = plan::latest(now, &config);
        let mut state = self.lock();
        let State { endpoints, plan, rng, .. } = &mut *state;
        for (id, entry) in endpoints {
            if let Doing::Waiting(due, _) = &mut entry.doing
                && *due > latest
            {
                plan.remove(*id, *due);
                *due = now + config.interval.mul_f64(rng.f64());
                plan.add(*id, *due);
            }
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.lock().plan.next()
    }

    pub(super) fn find(&self, id: EndpointId) -> Option<EndpointHealth> {
        self.lock().endpoints.get(&id).map(Entry::show)
    }

    pub(super) fn all(&self) -> Vec<EndpointHealth> {
        let mut all: Vec<_> = self.lock().endpoints.values().map(Entry::show).collect();
        all.sort_unstable_by_key(|one| one.endpoint.id());
        all
    }

    pub(super) fn counts(&self) -> HealthCounts {
        let now = Clock::now();
        let state = self.lock();
        let count = |test: fn(&Entry) -> bool| state.endpoints.values().filter(|entry| test(entry)).count();
        HealthCounts {
            endpoints: state.endpoints.len(),
            unhealthy: count(|entry| !entry.judge.is_healthy()),
            under_way: count(|entry| matches!(entry.doing, Doing::Probing { .. })),
            late: state.plan.next().map_or_else(Default::default, |due| now.saturating_duration_since(due)),
            probes: state.probes,
            failed: state.failed,
        }
    }

    /// The task that begins the probes has ended before its time, most likely since its runtime does; so have the probes.
    pub(super) fn interrupted(&self) {
        let now = Clock::now();
        let mut state = self.lock();
        let State { endpoints, plan, driver, .. } = &mut *state;
        if matches!(driver, Driver::Closed) {
            return;
        }
        *driver = Driver::None;
        for (id, entry) in endpoints {
            if matches!(entry.doing, Doing::Probing { .. }) {
                entry.doing = Doing::Waiting(now, None);
                plan.add(*id, now);
            }
        }
    }

    /// Ends everything: nobody wants to know any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        let driver = std::mem::replace(&mut state.driver, Driver::Closed);
        let entries = std::mem::take(&mut state.endpoints);
        state.plan = Plan::default();
        drop(state);
        if let Driver::Running(Some(task)) = driver {
            task.abort();
        }
        entries.into_values().for_each(|entry| self.let_go(Some(entry)));
    }
}

impl State {
    fn take(&mut self, id: EndpointId) -> Option<Entry> {
        let entry = self.endpoints.remove(&id)?;
        if let Doing::Waiting(due, _) = entry.doing {
            self.plan.remove(id, due);
        }
        Some(entry)
    }
}

impl Entry {
    fn show(&self) -> EndpointHealth {
        EndpointHealth {
            endpoint: self.endpoint.clone(),
            healthy: self.judge.is_healthy(),
            row: self.judge.row(),
            last: self.last.clone(),
            next: match self.doing {
                Doing::Waiting(due, _) => Some(due),
                Doing::Probing { .. } => None,
            },
        }
    }
}
