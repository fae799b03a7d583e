//! Who belongs to the fleet, and what is known of each: kept by whoever tends it, never looked at by a pick.

use super::{
    quota::{self, Able},
    snapshot::Spare,
};
use crate::{
    BalanceConfig, BalanceEvent, Counts,
    gauge::{Arena, GONE, HOPEFUL, Key, RAMPING, USABLE, WELL, pace::Tick},
};
use std::{collections::HashMap, sync::Arc};
use tokio::time::Instant;
use towpath_core::{Backoff, Endpoint, EndpointId, EndpointStatus};

/// Who belongs to the fleet.
pub(crate) struct Roster<S> {
    members: Vec<Member<S>>,
    /// Where each one is in `members`.
    places: HashMap<EndpointId, usize>,
    /// The same by the slot of its gauge.
    slots: Vec<usize>,
    /// Those whose breakers ask for their ejection, in the order in which they did.
    asking: Vec<Key>,
    /// Those whose share grows.
    ramping: Vec<Key>,
    /// Those that are no more, and whose gauges are given back when their last calls are over.
    leaving: Vec<Key>,
    counts: Counts,
    /// Since when none is ready.
    unready: Option<Instant>,
    /// How many have a weight. If none has, all are alike.
    heavy: usize,
    panic: bool,
    settled: bool,
    random: fastrand::Rng,
    /// What is to be done, and what is to be told, once the roster is not locked any more.
    pub(crate) orders: Vec<Order>,
    pub(crate) events: Vec<BalanceEvent>,
}

/// An endpoint, its stack, and what is known of it.
pub(crate) struct Member<S> {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) stack: Arc<Spare<S>>,
    pub(crate) key: Key,
    standing: Standing,
    asks: bool,
    ejected: bool,
    /// It was told to let calls in though its gate is shut.
    let_in: bool,
    /// It was ready before, or joined a fleet that was there already: its share grows when it becomes ready.
    cold: bool,
    /// Its stack says by itself, in the endpoint's state, when it is connected.
    speaks: bool,
    /// Its stack does not, and was found to be ready.
    answers: bool,
    probe: Probe,
    look: Looked,
}

/// How often it was looked whether a stack is ready that says nothing of itself.
#[derive(Clone, Copy, Default)]
struct Looked {
    times: u32,
    next: Option<Instant>,
}

/// Calls to an endpoint that is ejected, which find out whether it has recovered.
#[derive(Clone, Copy, Default)]
struct Probe {
    /// How many are under way.
    out: u32,
    /// When the last one was begun.
    last: Option<Instant>,
}

/// What counts of all that is known: the first of these that holds, from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Ready,
    Connecting,
    Unhealthy,
    Ejected,
    Idle,
    Draining,
    Gone,
}

/// What a tender is to do once the roster is not locked any more.
pub(crate) struct Order {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) eject: Option<bool>,
    pub(crate) let_in: Option<bool>,
}

/// Probes of one endpoint are no nearer to each other than this, whatever its breaker says.
const BETWEEN_PROBES: std::time::Duration = std::time::Duration::from_millis(1);

impl<S> Roster<S> {
    pub(crate) fn new(now: Instant) -> Self {
        Roster {
            members: Vec::new(),
            places: HashMap::new(),
            slots: Vec::new(),
            asking: Vec::new(),
            ramping: Vec::new(),
            leaving: Vec::new(),
            counts: Counts::default(),
            unready: Some(now),
            heavy: 0,
            panic: false,
            settled: false,
            random: fastrand::Rng::new(),
            orders: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(crate) fn members(&self) -> &[Member<S>] {
        &self.members
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Since when none is ready, as the last round has seen it.
    pub(crate) fn unready(&self) -> Option<Instant> {
        self.unready
    }

    /// A round has seen what there is.
    pub(crate) fn seen(&mut self, now: Instant) {
        self.unready = (self.counts.ready == 0).then(|| self.unready.unwrap_or(now));
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    pub(crate) fn is_panicking(&self) -> bool {
        self.panic
    }

    /// Says whether this is new.
    pub(crate) fn settle(&mut self) -> bool {
        !std::mem::replace(&mut self.settled, true)
    }

    fn place(&self, key: Key) -> Option<usize> {
        let place = *self.slots.get(key.slot as usize)?;
        (self.members.get(place)?.key == key).then_some(place)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Member<S>> {
        self.members.get(self.place(key)?)
    }

    /// One more; one that is there already is described anew.
    pub(crate) fn find(&self, id: EndpointId) -> Option<&Member<S>> {
        self.members.get(*self.places.get(&id)?)
    }

    pub(crate) fn join(&mut self, endpoint: Endpoint, stack: Arc<Spare<S>>, key: Key) {
        if self.places.contains_key(&endpoint.id()) {
            self.leaving.push(key);
            return self.describe(endpoint);
        }
        let place = self.members.len();
        self.places.insert(endpoint.id(), place);
        let slot = key.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, usize::MAX);
        }
        self.slots[slot] = place;
        self.heavy += usize::from(endpoint.weight() > 0);
        self.members.push(Member {
            endpoint: Arc::new(endpoint),
            stack,
            key,
            standing: Standing::Gone,
            asks: false,
            ejected: false,
            let_in: false,
            cold: self.settled,
            speaks: false,
            answers: false,
            probe: Probe::default(),
            look: Looked::default(),
        });
        self.counts.known += 1;
    }

    pub(crate) fn describe(&mut self, endpoint: Endpoint) {
        if let Some(place) = self.places.get(&endpoint.id()) {
            let member = &mut self.members[*place];
            self.heavy -= usize::from(member.endpoint.weight() > 0);
            self.heavy += usize::from(endpoint.weight() > 0);
            member.endpoint = Arc::new(endpoint);
        }
    }

    /// One less.
    pub(crate) fn leave(&mut self, id: EndpointId, arena: &Arena) -> Option<Arc<Endpoint>> {
        let place = self.places.remove(&id)?;
        let member = self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place) {
            self.places.insert(moved.endpoint.id(), place);
            self.slots[moved.key.slot as usize] = place;
        }
        self.slots[member.key.slot as usize] = usize::MAX;
        arena.at(member.key.slot).set_flags(GONE);
        count(&mut self.counts, member.standing, false);
        self.counts.known -= 1;
        self.heavy -= usize::from(member.endpoint.weight() > 0);
        self.asking.retain(|key| *key != member.key);
        self.ramping.retain(|key| *key != member.key);
        self.leaving.push(member.key);
        Some(member.endpoint)
    }

    /// Gives back the gauges of those that have left, as far as their calls are over.
    pub(crate) fn release(&mut self, arena: &Arena) {
        self.leaving.retain(|key| !arena.give_back(*key));
    }

    /// The stack of an endpoint that says nothing of itself was found to be ready.
    pub(crate) fn answers(&mut self, key: Key) {
        if let Some(place) = self.place(key) {
            self.members[place].answers = true;
        }
    }

    /// Those of which nobody knows yet whether they are ready, as far as it is time to look (again).
    pub(crate) fn look_around(&mut self, now: Instant) -> Vec<(Key, Arc<Spare<S>>)> {
        let mut found = Vec::new();
        for member in self.members.iter_mut().filter(|member| member.is_silent()) {
            if member.look.next.is_none_or(|next| next <= now) {
                let wait = Backoff::default().delay(member.look.times, &mut self.random);
                member.look = Looked { times: member.look.times + 1, next: Some(now + wait) };
                found.push((member.key, member.stack.clone()));
            }
        }
        found
    }

    /// When it is time to look at one of them; at once, if it was not looked at yet.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Instant> {
        let silent = self.members.iter().filter(|member| member.is_silent());
        silent.map(|member| member.look.next.unwrap_or(now)).min()
    }

    /// What is known of all, after a change that is everybody's.
    pub(crate) fn look_at_all(&mut self, arena: &Arena, config: &BalanceConfig, now: Tick) {
        for place in 0..self.members.len() {
            self.look_at(place, arena, config, now);
        }
    }

    /// What is known of one now.
    pub(crate) fn look(&mut self, key: Key, arena: &Arena, config: &BalanceConfig, now: Tick) {
        if let Some(place) = self.place(key) {
            self.look_at(place, arena, config, now);
        }
    }

    fn look_at(&mut self, place: usize, arena: &Arena, config: &BalanceConfig, now: Tick) {
        let member = &mut self.members[place];
        let state = member.endpoint.state();
        member.speaks |= state.is_connected();
        let connected = state.is_connected() || (member.answers && !member.speaks);
        let standing = match state.status() {
            EndpointStatus::Gone => Standing::Gone,
            EndpointStatus::Draining => Standing::Draining,
            _ if member.endpoint.weight() == 0 && self.heavy > 0 => Standing::Idle,
            EndpointStatus::Ejected { .. } => Standing::Ejected,
            _ if state.is_unhealthy() => Standing::Unhealthy,
            _ if connected => Standing::Ready,
            _ => Standing::Connecting,
        };
        count(&mut self.counts, member.standing, false);
        count(&mut self.counts, standing, true);
        member.standing = standing;

        let able = !matches!(standing, Standing::Gone | Standing::Draining | Standing::Idle);
        let asks = able && state.asks_ejection();
        if member.asks && !asks {
            if std::mem::take(&mut member.ejected) && able {
                self.events.push(BalanceEvent::Returned((*member.endpoint).clone()));
            }
            // Its gate is not to let calls in if it is shut again.
            if std::mem::take(&mut member.let_in) {
                self.orders.push(Order {
                    endpoint: member.endpoint.clone(),
                    eject: None,
                    let_in: Some(false),
                });
            }
        }
        match (member.asks, asks) {
            (false, true) => self.asking.push(member.key),
            (true, false) => self.asking.retain(|key| *key != member.key),
            _ => {}
        }
        member.asks = asks;

        let gauge = arena.at(member.key.slot);
        let usable = match standing {
            Standing::Ready => true,
            Standing::Unhealthy | Standing::Ejected => self.panic && connected,
            _ => false,
        };
        let was_usable = gauge.flags() & USABLE != 0;
        if was_usable && !usable {
            member.cold = true;
        }
        let mut flags = gauge.flags() & RAMPING;
        if usable && !was_usable && member.cold && !config.slow_start.is_zero() {
            gauge.set_risen(now);
            flags = RAMPING;
            if !self.ramping.contains(&member.key) {
                self.ramping.push(member.key);
            }
        }
        gauge.set_flags(match standing {
            Standing::Ready if !asks => flags | USABLE | WELL,
            _ if usable => flags | USABLE,
            Standing::Connecting => HOPEFUL,
            _ => 0,
        });
    }

    /// Ends what has lasted long enough; answers when the next one has.
    pub(crate) fn ripen(&mut self, arena: &Arena, ticks: u32, now: Tick) -> Option<u32> {
        let mut next = None;
        self.ramping.retain(|key| {
            let gauge = arena.at(key.slot);
            let left = ticks.saturating_sub(crate::gauge::pace::since(gauge.risen(), now));
            if left == 0 {
                gauge.set_flags(gauge.flags() & !RAMPING);
                return false;
            }
            next = Some(next.map_or(left, |next: u32| next.min(left)));
            true
        });
        next
    }

    /// Decides who is out, and says what is to be done about it.
    pub(crate) fn decide(&mut self, arena: &Arena, config: &BalanceConfig, now: Tick, per_tick: f32) {
        let counts = self.counts;
        let asking = self.asking.iter().filter_map(|key| self.place(*key));
        let (sick, asking): (Vec<_>, Vec<_>) =
            asking.partition(|place| self.members[*place].endpoint.state().is_unhealthy());
        let able = Able {
            all: counts.ready + counts.connecting + counts.unhealthy + counts.ejected,
            unhealthy: counts.unhealthy
                + sick.iter().filter(|place| self.members[**place].standing == Standing::Ejected).count()
                    as u32,
            asking: asking.len() as u32,
        };
        let quota = able.quota(config);
        if quota.panic != self.panic {
            self.panic = quota.panic;
            self.events.push(match quota.panic {
                true => BalanceEvent::PanicBegan(counts),
                false => BalanceEvent::PanicEnded(counts),
            });
            self.look_at_all(arena, config, now);
        }
        // Who is out stays out; then in the order in which they asked, unless they are like the others.
        let (mut out, others): (Vec<_>, Vec<_>) =
            asking.into_iter().partition(|place| self.members[*place].ejected);
        let (alike, worse): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|place| self.is_like_others(*place, arena, now, per_tick));
        out.extend(worse);
        let granted = out.len().min(quota.ejected as usize);
        let ranked = out.into_iter().chain(alike).chain(sick);
        for (rank, place) in ranked.enumerate() {
            let member = &mut self.members[place];
            let ejected = rank < granted;
            let let_in = !ejected;
            let order = Order {
                endpoint: member.endpoint.clone(),
                eject: (member.ejected != ejected).then_some(ejected),
                let_in: (member.let_in != let_in).then_some(let_in),
            };
            let endpoint = || (*order.endpoint).clone();
            match (order.eject, order.let_in) {
                (None, None) => continue,
                (Some(true), _) => {
                    let until = match member.endpoint.state().status() {
                        EndpointStatus::Ejected { until } => until,
                        _ => None,
                    };
                    self.events.push(BalanceEvent::Ejected { endpoint: endpoint(), until });
                }
                (_, Some(true)) if member.standing != Standing::Unhealthy => {
                    self.events.push(BalanceEvent::EjectionRefused { endpoint: endpoint(), counts });
                }
                _ => {}
            }
            (member.ejected, member.let_in) = (ejected, let_in);
            self.orders.push(order);
        }
    }

    /// Whether an endpoint fails as the one in the middle of the others that take calls does.
    fn is_like_others(&self, place: usize, arena: &Arena, now: Tick, per_tick: f32) -> bool {
        let failures = |member: &Member<S>| arena.at(member.key.slot).failures(now, per_tick);
        let asks = &self.members[place];
        let others = self.members.iter().filter(|one| one.key != asks.key && one.standing == Standing::Ready);
        let mut others: Vec<_> = others.map(failures).collect();
        // Of an even number the better one: where half of the fleet is ill, that half is.
        let Some(middle) = others.len().checked_sub(1).map(|last| last / 2) else { return false };
        let (_, median, _) = others.select_nth_unstable_by(middle, f32::total_cmp);
        quota::is_like(failures(asks), *median)
    }

    /// An endpoint that is out and may be tried now: where it is. Counts the probe.
    pub(crate) fn probe(&mut self, now: Instant) -> Option<Key> {
        let key = *self.asking.iter().find(|key| {
            self.place(**key).is_some_and(|place| {
                let member = &self.members[place];
                member.endpoint.state().is_connected() | !member.speaks
                    && member.probe_at().is_some_and(|at| at <= now)
            })
        })?;
        let place = self.place(key)?;
        let probe = &mut self.members[place].probe;
        probe.out += 1;
        probe.last = Some(now);
        Some(key)
    }

    pub(crate) fn probed(&mut self, key: Key) {
        if let Some(place) = self.place(key) {
            let out = &mut self.members[place].probe.out;
            *out = out.saturating_sub(1);
        }
    }

    /// When an endpoint that is out may be tried.
    pub(crate) fn next_probe(&self) -> Option<Instant> {
        self.asking.iter().filter_map(|key| self.get(*key)?.probe_at()).min()
    }

    /// Writes down what picks have to know of each. If none has a weight, all have the same.
    pub(crate) fn keys(&self, arena: &Arena) -> Box<[Key]> {
        let key = |member: &Member<S>| {
            let weight = if self.heavy == 0 { 1.0 } else { member.endpoint.weight() as f32 };
            arena.at(member.key.slot).assign(member.endpoint.id(), weight);
            member.key
        };
        self.members.iter().map(key).collect()
    }
}

impl<S> Member<S> {
    /// When it may be tried, if it is out. Each time that its breaker says is good for one probe at a time.
    fn probe_at(&self) -> Option<Instant> {
        let EndpointStatus::Ejected { until: Some(until) } = self.endpoint.state().status() else {
            return None;
        };
        match self.probe.last {
            Some(last) if self.probe.out > 0 && until <= last => None,
            Some(last) => Some(until.max(last + BETWEEN_PROBES)),
            None => Some(until),
        }
    }

    /// Whether nobody knows yet that it can be called.
    fn is_silent(&self) -> bool {
        !self.speaks && !self.answers && self.standing == Standing::Connecting
    }
}

fn count(counts: &mut Counts, standing: Standing, more: bool) {
    let cell = match standing {
        Standing::Ready => &mut counts.ready,
        Standing::Connecting => &mut counts.connecting,
        Standing::Unhealthy => &mut counts.unhealthy,
        Standing::Ejected => &mut counts.ejected,
        Standing::Idle => &mut counts.idle,
        Standing::Draining => &mut counts.draining,
        Standing::Gone => return,
    };
    *cell = if more { *cell + 1 } else { *cell - 1 };
}
