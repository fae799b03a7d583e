//! The one task of a pool: it keeps the connections, for as long as somebody has the pool.

use crate::{
    Connection, Ended, Ending, PoolEvent, Retirement,
    plan::{Demand, Orders, Plan},
    state::Core,
    store::{Aside, News, Standing, Store},
};
use fastrand::Rng;
use std::{collections::HashMap, future::poll_fn, sync::Arc, time::Duration};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use towpath_core::{Error, ErrorKind};

/// Connects, watches the connections, connects again; ends when the pool is closed, or its endpoint is gone.
pub(crate) async fn run<S: Store>(core: Arc<Core<S>>) {
    Keeper::new(core).keep().await;
}

struct Keeper<S: Store> {
    core: Arc<Core<S>>,
    plan: Plan,
    rng: Rng,
    next_id: u64,
    tasks: JoinSet<Report<S>>,
    /// What each task is about: a panic must not be taken for nothing.
    kinds: HashMap<Id, Kind>,
    /// What the endpoint's state was last told.
    told: Option<Told>,
}

#[derive(Clone, Copy)]
enum Kind {
    Connect,
    Watch(u64),
    Rest(u64),
    Ask(u64),
}

/// What a task has to say.
enum Report<S: Store> {
    Connected { outcome: Result<S::Connection, Error>, took: Duration },
    Ended(u64, Ended),
    Rested(S::Aside, bool),
    Answered(S::Aside, Result<(), Error>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Ready,
    Connecting(Option<Instant>),
}

impl<S: Store> Keeper<S> {
    fn new(core: Arc<Core<S>>) -> Self {
        let sleeps = core.target.endpoint.is_none();
        Keeper {
            core,
            plan: Plan::new(sleeps),
            rng: Rng::new(),
            next_id: 1,
            tasks: JoinSet::new(),
            kinds: HashMap::new(),
            told: None,
        }
    }

    async fn keep(&mut self) {
        let core = self.core.clone();
        let config = &core.target.config;
        loop {
            if core.is_gone() {
                core.close();
            }
            if core.is_closed() {
                return;
            }
            let seen = config.version();
            let due = self.look();
            tokio::select! {
                // In this order and no other: a simulation is to have the same course again. What has ended comes first: a
                // call that found it closing rings too, and would have another one opened before it is known why.
                biased;
                Some(ended) = self.tasks.join_next_with_id() => self.heard(ended),
                () = core.bell.notified() => {}
                _ = config.changed(seen) => {}
                () = until(due) => {}
            }
        }
    }

    /// Looks what is to be done, and has it done. Answers with when to look again.
    fn look(&mut self) -> Option<Instant> {
        let core = self.core.clone();
        loop {
            let News { tired, spent } = core.store.news();
            spent.into_iter().for_each(|id| self.plan.gone(id));
            tired.into_iter().for_each(|aside| self.rest(aside));
            let (config, now) = (core.target.config.get(), Instant::now());
            let demand = Demand { spare: core.is_spare(), ..core.store.demand() };
            let Orders { open, retire, ask, due, can_grow, is_idle } = self.plan.look(&config, &demand, now);
            (0..open).for_each(|_| self.connect(config.connect_timeout));
            for (id, why, lived) in retire {
                self.retire(id, why, lived);
            }
            ask.into_iter().for_each(|id| self.ask(id, config.keep_alive_timeout));
            let (open, connecting) = (self.plan.open(), self.plan.connecting());
            let next_try = self.plan.not_before();
            core.note(|life| {
                (life.open, life.connecting, life.next_try) = (open, connecting, next_try);
                life.set_resting(is_idle);
            });
            self.tell(if open > 0 { Told::Ready } else { Told::Connecting(next_try) });
            let standing = Standing { share: config.calls_per_connection as usize, can_grow, connecting };
            if !core.store.publish(standing) {
                return due;
            }
        }
    }

    fn tell(&mut self, told: Told) {
        let Some(endpoint) = &self.core.target.endpoint else { return };
        if self.told == Some(told) {
            return;
        }
        self.told = Some(told);
        match told {
            Told::Ready => endpoint.state().set_ready(),
            Told::Connecting(next_try) => endpoint.state().set_connecting(next_try),
        }
    }

    fn observe(&self, event: PoolEvent) {
        self.core.target.observe.observe(&event);
    }

    fn spawn(&mut self, kind: Kind, task: impl Future<Output = Report<S>> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.kinds.insert(id, kind);
    }

    fn connect(&mut self, patience: Duration) {
        let core = self.core.clone();
        // The connect must not keep the pool's keeper from ending: it is dropped with it.
        self.spawn(Kind::Connect, async move {
            let begun = Instant::now();
            let name = core.target.name.clone();
            let connecting = (core.target.connect)();
            drop(core);
            let outcome = match timeout(patience, connecting).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Error::new(ErrorKind::ConnectFailed)
                    .at(name)
                    .because(format!("no connection within {} ms", patience.as_millis()))),
            };
            Report::Connected { outcome, took: begun.elapsed() }
        });
    }

    fn ask(&mut self, id: u64, patience: Duration) {
        let Some((ping, aside)) = self.core.store.ask(id) else { return };
        self.spawn(Kind::Ask(id), async move {
            let answer = match timeout(patience, ping).await {
                Ok(answer) => answer,
                Err(_) => {
                    let why = format!("no sign of life within {} ms", patience.as_millis());
                    Err(Error::new(ErrorKind::ConnectionLost).because(why))
                }
            };
            Report::Answered(aside, answer)
        });
    }

    fn rest(&mut self, mut aside: S::Aside) {
        self.spawn(Kind::Rest(aside.id()), async move {
            let usable = poll_fn(|cx| aside.poll_rested(cx)).await;
            Report::Rested(aside, usable)
        });
    }

    fn heard(&mut self, ended: Result<(Id, Report<S>), JoinError>) {
        let report = match ended {
            Ok((task, report)) => {
                self.kinds.remove(&task);
                report
            }
            Err(error) => return self.panicked(&error),
        };
        match report {
            Report::Connected { outcome: Ok(connection), took } => self.connected(connection, took),
            Report::Connected { outcome: Err(error), .. } => self.failed(error),
            Report::Ended(id, ended) => self.lost(id, ended),
            Report::Rested(aside, true) | Report::Answered(aside, Ok(())) => self.core.store.put_back(aside),
            Report::Rested(aside, false) => {
                self.plan.gone(aside.id());
                self.core.store.discard(aside);
            }
            Report::Answered(aside, Err(error)) => self.silent(aside.id(), Some(aside), error),
        }
    }

    fn connected(&mut self, connection: S::Connection, took: Duration) {
        let (id, now) = (self.next_id, Instant::now());
        self.next_id += 1;
        self.plan.connected(&self.core.target.config.get(), id, now, &mut self.rng);
        // What waits for its end does not hold it open.
        let closed = connection.closed();
        self.spawn(Kind::Watch(id), async move { Report::Ended(id, closed.await) });
        let open = self.plan.open();
        self.core.note(|life| {
            (life.open, life.last_error, life.next_try) = (open, None, None);
            life.connects += 1;
        });
        self.core.store.put(id, connection, now);
        self.tell(Told::Ready);
        self.observe(PoolEvent::Connected { took, open });
        tracing::debug!(endpoint = %self.core.target.name, ?took, open, "connected");
    }

    fn failed(&mut self, error: Error) {
        let error = match error.endpoint() {
            Some(_) => error,
            None => error.at(self.core.target.name.clone()),
        };
        let next_try = self.plan.failed(&self.core.target.config.get(), Instant::now(), &mut self.rng);
        let without = self.plan.open() == 0;
        self.core.note(|life| {
            life.failures += 1;
            life.next_try = Some(next_try);
            if without {
                life.last_error = Some(error.clone());
            }
        });
        tracing::debug!(endpoint = %self.core.target.name, %error, "could not connect");
        if without {
            self.tell(Told::Connecting(Some(next_try)));
            self.core.store.connect_failed(&error);
        }
        self.observe(PoolEvent::ConnectFailed { error, next_try });
    }

    fn lost(&mut self, id: u64, Ended { how, error }: Ended) {
        // It is none of the pool's any more, if that has closed it.
        let Some(since) = self.plan.since(id) else { return };
        let now = Instant::now();
        self.plan.lost(&self.core.target.config.get(), id, how, now, &mut self.rng);
        let (open, lived) = (self.plan.open(), now.saturating_duration_since(since));
        self.core.note(|life| {
            life.open = open;
            life.lost(how, error.clone());
        });
        self.core.store.remove(id);
        tracing::debug!(endpoint = %self.core.target.name, %error, ?lived, open, "a connection ended");
        self.observe(PoolEvent::Lost { error, lived, open });
    }

    fn retire(&mut self, id: u64, why: Retirement, lived: Duration) {
        self.core.store.remove(id);
        let open = self.plan.open();
        tracing::debug!(endpoint = %self.core.target.name, why = why.as_str(), ?lived, open, "a connection was closed");
        self.observe(PoolEvent::Retired { why, lived, open });
    }

    /// One gives no sign of life, or whoever looked after it has panicked: as if it had broken.
    fn silent(&mut self, id: u64, aside: Option<S::Aside>, error: Error) {
        let since = self.plan.since(id);
        let now = Instant::now();
        self.plan.lost(&self.core.target.config.get(), id, Ending::Broken, now, &mut self.rng);
        match aside {
            Some(aside) => self.core.store.discard(aside),
            None => self.core.store.remove(id),
        }
        let Some(since) = since else { return };
        let (open, lived) = (self.plan.open(), now.saturating_duration_since(since));
        self.core.note(|life| {
            life.open = open;
            life.lost(Ending::Broken, error);
        });
        self.observe(PoolEvent::Retired { why: Retirement::Silent, lived, open });
    }

    /// A connect or a connection has panicked: it is as if it had failed.
    fn panicked(&mut self, error: &JoinError) {
        let Some(kind) = self.kinds.remove(&error.id()) else { return };
        let failed = |kind| Error::new(kind).at(self.core.target.name.clone()).because("it panicked");
        match kind {
            Kind::Connect => {
                let error = failed(ErrorKind::ConnectFailed);
                self.failed(error);
            }
            Kind::Watch(id) | Kind::Rest(id) | Kind::Ask(id) => {
                let error = failed(ErrorKind::ConnectionLost);
                self.silent(id, None, error);
            }
        }
    }
}

/// If the keeper ends before the pool does, or its runtime, the next call starts anew.
impl<S: Store> Drop for Keeper<S> {
    fn drop(&mut self) {
        self.core.stopped();
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
