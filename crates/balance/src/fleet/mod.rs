//! What all services and calls of a balancer share: the endpoints, what is measured of them, and what is decided
//! about them.
//!
//! A pick reads the [`Snapshot`] and the gauges, and nothing else. Whatever changes either is done in rounds, by one
//! thread at a time ([`Turn`]): by the driver, if there is one, and by whichever call sees that something is due.

mod bell;
mod quota;
mod roster;
mod snapshot;
mod turn;
mod wanted;

pub(crate) use bell::Bell;
pub(crate) use roster::Member;
pub(crate) use snapshot::{Snapshot, Spare};

use crate::{
    BalanceConfig, BalanceEvent, Counts,
    gauge::USABLE,
    gauge::{Arena, Key, pace, pace::Tick},
    look::{self, Look},
    pick::{Base, Pick, Ramp, Tuning, View},
    sync::AtomicU64,
};
use roster::Roster;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::Instant;
use towpath_core::{Clock, Endpoint, EndpointId, Live, Observe};
use turn::Turn;
use wanted::Wanted;

/// How many nanoseconds a tick has, as a power of 2.
const TICK: u32 = 20;

/// What all services and calls of a balancer share.
pub(crate) struct Fleet<S, P: Pick> {
    pub(crate) arena: Arena,
    pub(crate) live: Live<Snapshot<S, P::Table>>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) picker: P,
    pub(crate) config: Live<BalanceConfig>,
    usual: Usual,
    observe: Option<Arc<Observer>>,
    explain: Option<Arc<Explain>>,
    /// Whether somebody waits for the stacks to become ready.
    driven: bool,
    /// Whether the driver is to show the roster to the picks.
    unseen: AtomicBool,
    turn: Turn,
    refreshing: Turn,
    news: Mutex<Vec<News<S>>>,
    roster: Mutex<Roster<S>>,
    wanted: Mutex<Wanted>,
}

pub(crate) type Observer = dyn Observe<BalanceEvent> + Send + Sync;

pub(crate) type Explain = dyn Fn() -> Option<String> + Send + Sync;

/// How long a call takes as a rule, and the bits of [`Tuning::per_tick`]. On a line of its own: every call reads it.
#[repr(align(128))]
struct Usual(AtomicU64, AtomicU32);

/// An endpoint with its stack and its gauge, before the next round is told.
pub(crate) struct Enlisted<S> {
    pub(crate) endpoint: Endpoint,
    pub(crate) key: Key,
    pub(crate) stack: Arc<Spare<S>>,
    pub(crate) news: News<S>,
}

/// What the next round is told.
pub(crate) enum News<S> {
    /// An endpoint is there.
    Joined { endpoint: Endpoint, stack: Arc<Spare<S>>, key: Key },
    /// An endpoint that is there is described anew.
    Described(Endpoint),
    /// One is no more.
    Left(EndpointId),
    /// For now these are all.
    Settled,
    /// A stack that says nothing of itself is ready.
    Answers(Key),
    /// A probe is over.
    Probed(Key),
    /// The config or the picker has changed.
    Renew,
    /// To be told.
    Event(BalanceEvent),
}

impl<S, P: Pick> Fleet<S, P> {
    pub(crate) fn new(
        config: Live<BalanceConfig>,
        picker: P,
        (observe, explain): (Option<Arc<Observer>>, Option<Arc<Explain>>),
        driven: bool,
    ) -> Self {
        let (table, tuning) = (picker.table(&[]), tuning(&config.get()));
        let (keys, endpoints, stacks) = (Box::default(), Box::default(), Box::default());
        let snapshot = Snapshot { keys, endpoints, stacks, table, tuning, settled: false };
        let now = Clock::now();
        let fleet = Fleet {
            arena: Arena::new(),
            live: Live::new(snapshot),
            bell: Arc::new(Bell::new(now)),
            picker,
            config,
            usual: Usual(AtomicU64::new(0), AtomicU32::new(tuning.per_tick.to_bits())),
            observe,
            explain,
            driven,
            unseen: AtomicBool::new(false),
            turn: Turn::new(),
            refreshing: Turn::new(),
            news: Mutex::default(),
            roster: Mutex::new(Roster::new(now)),
            wanted: Mutex::default(),
        };
        fleet.ask_wanted(&fleet.live.get());
        fleet
    }

    #[inline]
    pub(crate) fn tick(&self, time: Instant) -> Tick {
        tick(self.bell.nanos(time))
    }

    /// One tick, in time constants of the averages.
    #[inline]
    pub(crate) fn per_tick(&self) -> f32 {
        f32::from_bits(self.usual.1.load(Relaxed))
    }

    /// Nanoseconds that a call takes as a rule.
    #[inline]
    pub(crate) fn usual(&self) -> f32 {
        pace::unpack(self.usual.0.load(Relaxed)).0
    }

    /// A good answer took so many nanoseconds.
    #[inline]
    pub(crate) fn took(&self, nanos: f32, now: Tick, per_tick: f32) {
        crate::gauge::update(&self.usual.0, |word| pace::observe_usual(word, nanos, now, per_tick));
    }

    /// Tells the next round, and has it begin.
    pub(crate) fn tell(&self, news: impl IntoIterator<Item = News<S>>) {
        lock(&self.news).extend(news);
        self.bell.ring();
    }

    /// A stack for an endpoint, and the gauge that counts its calls. What its state says is heard from here on.
    pub(crate) fn enlist(&self, endpoint: Endpoint, stack: S) -> Option<Enlisted<S>> {
        let key = self.arena.take()?;
        let bell = Arc::downgrade(&self.bell);
        endpoint.state().listen(move || bell.upgrade().map(|bell| bell.touch(key)).is_some());
        let stack = Arc::new(Spare::new(stack));
        let news = News::Joined { endpoint: endpoint.clone(), stack: stack.clone(), key };
        Some(Enlisted { endpoint, key, stack, news })
    }

    /// Why no endpoint is known.
    pub(crate) fn explain(&self) -> Option<String> {
        self.explain.as_ref().and_then(|explain| explain())
    }

    pub(crate) fn observe(&self, event: &BalanceEvent) {
        if let Some(observe) = &self.observe {
            observe.observe(event);
        }
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster<S>> {
        lock(&self.roster)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.roster().counts()
    }

    /// Does what is due, if somebody has rung.
    pub(crate) fn tend_if_rung(&self) {
        if self.bell.has_rung() {
            self.tend();
        }
    }

    /// Does what is due.
    #[cold]
    pub(crate) fn tend(&self) {
        self.turn.run(|| {
            self.round();
            while self.bell.has_rung() {
                self.round();
            }
        });
    }

    /// Where nobody drives: polls the stacks that say nothing of themselves and were not found to be ready, as often as is
    /// due.
    pub(crate) fn look_around(&self, look: Look<S>, now: Instant)
    where
        S: Clone,
    {
        if self.driven {
            return;
        }
        let due = self.roster().look_around(now);
        let mut ready = Vec::new();
        for (key, stack) in due {
            let mut task = Context::from_waker(Waker::noop());
            if look::caught(look, &mut stack.fresh(), &mut task) == Poll::Ready(true) {
                ready.push(News::Answers(key));
            }
        }
        if !ready.is_empty() {
            self.tell(ready);
            self.tend();
        }
    }

    /// Takes in what was told, decides, carries it out. Nothing is locked while what is not ours is called.
    fn round(&self) {
        let touched = self.bell.begin();
        let news = std::mem::take(&mut *lock(&self.news));
        let changes = !touched.is_empty() || !news.is_empty();
        let now = Clock::now();
        let tick = self.tick(now);
        let config = self.config.get();
        let (mut gone, mut publish) = (Vec::new(), false);
        {
            let mut roster = self.roster();
            let mut described = false;
            for news in news {
                described |= matches!(news, News::Described(_));
                publish |= self.hear(&mut roster, news, &config, tick, &mut gone);
            }
            if described {
                // A weight that is 0, or is not any more, may be everybody's matter.
                roster.look_at_all(&self.arena, &config, tick);
            }
            for key in &touched {
                roster.look(*key, &self.arena, &config, tick);
            }
            roster.decide(&self.arena, &config, tick, self.per_tick());
            roster.seen(now);
        }
        for endpoint in &gone {
            endpoint.state().set_gone();
        }
        let leave_it = self.driven && self.picker.is_heavy();
        match publish {
            true if leave_it => {
                self.unseen.store(true, Relaxed);
                self.bell.driver().notify_one();
            }
            true => self.publish(&config),
            false => self.refresh(),
        }
        let (orders, events, next) = {
            let mut roster = self.roster();
            roster.release(&self.arena);
            let ripe = roster.ripen(&self.arena, ticks(config.slow_start), tick);
            let ripe = ripe.map(|ticks| self.bell.nanos(now) + (u64::from(ticks) << TICK));
            let probe = roster.next_probe().map(|at| self.bell.nanos(at));
            let look = if self.driven { None } else { roster.next_look(now) };
            let look = look.map(|at| self.bell.nanos(at));
            let next = ripe.into_iter().chain(probe).chain(look).min();
            (std::mem::take(&mut roster.orders), std::mem::take(&mut roster.events), next)
        };
        for order in orders {
            if let Some(eject) = order.eject {
                order.endpoint.state().grant_ejection(eject);
            }
            if let Some(let_in) = order.let_in {
                order.endpoint.state().set_panic(let_in);
            }
        }
        for event in &events {
            self.observe(event);
        }
        self.bell.end(next);
        if changes {
            self.bell.tell();
        }
    }

    /// Takes in one of the news. Says whether picks are to see it.
    fn hear(
        &self,
        roster: &mut Roster<S>,
        news: News<S>,
        config: &BalanceConfig,
        now: Tick,
        gone: &mut Vec<Arc<Endpoint>>,
    ) -> bool {
        match news {
            News::Joined { endpoint, stack, key } => {
                roster.events.push(BalanceEvent::Joined(endpoint.clone()));
                roster.join(endpoint, stack, key);
                roster.look(key, &self.arena, config, now);
            }
            News::Described(endpoint) => roster.describe(endpoint),
            News::Left(id) => {
                let Some(endpoint) = roster.leave(id, &self.arena) else { return false };
                roster.events.push(BalanceEvent::Left((*endpoint).clone()));
                gone.push(endpoint);
            }
            News::Settled => {
                if !roster.settle() {
                    return false;
                }
                let counts = roster.counts();
                roster.events.push(BalanceEvent::Settled(counts));
            }
            News::Answers(key) => {
                roster.answers(key);
                roster.look(key, &self.arena, config, now);
                return false;
            }
            News::Probed(key) => {
                roster.probed(key);
                return false;
            }
            News::Renew => {}
            News::Event(event) => {
                roster.events.push(event);
                return false;
            }
        }
        true
    }

    /// Where this takes long: shows the roster to the picks, if it has changed. For the driver alone.
    pub(crate) fn show(&self) {
        if self.unseen.swap(false, Relaxed) {
            self.publish(&self.config.get());
            self.bell.tell();
        }
    }

    pub(crate) fn is_unseen(&self) -> bool {
        self.unseen.load(Relaxed)
    }

    /// Has the picker take down what follows from the states.
    fn refresh(&self) {
        // One at a time, so that what is taken down last is what was seen last.
        self.refreshing.run(|| {
            let snapshot = self.live.get();
            let base = self.base(&snapshot, self.tick(Clock::now()));
            self.picker.refresh(&snapshot.table, &View::new(&base));
            self.ask_wanted(&snapshot);
        });
    }

    /// What picks may be told, whatever the call is.
    #[inline(always)]
    pub(crate) fn base<'a>(&'a self, snapshot: &'a Snapshot<S, P::Table>, now: Tick) -> Base<'a> {
        Base {
            arena: &self.arena,
            keys: &snapshot.keys,
            endpoints: &snapshot.endpoints,
            takes: USABLE,
            tuning: &snapshot.tuning,
            usual: self.usual(),
            now,
            context: None,
            method: None,
            tried: &[],
            passed: &[],
        }
    }

    /// Shows the roster to the picks.
    fn publish(&self, config: &BalanceConfig) {
        let (keys, endpoints, stacks, settled) = {
            let roster = self.roster();
            let endpoints: Box<[_]> = roster.members().iter().map(|member| member.endpoint.clone()).collect();
            let stacks = roster.members().iter().map(|member| member.stack.clone()).collect();
            (roster.keys(&self.arena), endpoints, stacks, roster.is_settled())
        };
        let seen: Vec<&Endpoint> = endpoints.iter().map(|endpoint| &**endpoint).collect();
        let table = self.picker.table(&seen);
        drop(seen);
        let tuning = tuning(config);
        self.usual.1.store(tuning.per_tick.to_bits(), Relaxed);
        self.live.set(Snapshot { keys, endpoints, stacks, table, tuning, settled });
        self.refresh();
    }
}

impl<S, P: Pick> Fleet<S, P> {
    /// Nobody makes calls any more. Who still looks keeps no stack, and so no connection.
    pub(crate) fn dissolve(&self) {
        let news = std::mem::take(&mut *lock(&self.news));
        let roster = std::mem::replace(&mut *self.roster(), Roster::new(Clock::now()));
        let (keys, endpoints, stacks) = (Box::default(), Box::default(), Box::default());
        let (table, tuning) = (self.picker.table(&[]), tuning(&self.config.get()));
        self.live.set(Snapshot { keys, endpoints, stacks, table, tuning, settled: false });
        // Dropped when nothing is locked: they are not ours.
        drop((news, roster));
    }
}

#[inline]
pub(crate) fn tick(nanos: u64) -> Tick {
    (nanos >> TICK) as Tick
}

pub(crate) fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() >> TICK).unwrap_or(u32::MAX)
}

fn tuning(config: &BalanceConfig) -> Tuning {
    let ramp = (!config.slow_start.is_zero()).then(|| Ramp {
        ticks: ticks(config.slow_start).max(1),
        least: config.slow_start_least as f32,
        exponent: (1.0 / config.slow_start_aggression) as f32,
    });
    Tuning { per_tick: 1.0 / ticks(config.decay).max(1) as f32, penalty: config.failure_penalty as f32, ramp }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
