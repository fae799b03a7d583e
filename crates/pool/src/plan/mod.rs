//! What to open, to close and to look after: the decisions of a pool.

#[cfg(test)]
mod model;
mod reconnect;

use crate::{Ending, PoolConfig, Retirement};
use fastrand::Rng;
use reconnect::Reconnect;
use std::time::Duration;
use tokio::time::Instant;

/// The connections of one pool, and what is to be done about them. Pure: it takes the time, the dice and what happened, and
/// does nothing itself.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In the order in which they were made.
    members: Vec<Member>,
    connecting: u32,
    reconnect: Reconnect,
    /// No connect before.
    not_before: Option<Instant>,
    /// The peer closes what nobody uses: there need be none until somebody calls.
    asleep: bool,
    /// Whether it may fall asleep.
    sleeps: bool,
}

#[derive(Debug)]
struct Member {
    id: u64,
    since: Instant,
    /// When it was last known to be in use.
    used: Instant,
    /// When it was last asked for a sign of life.
    asked: Instant,
    /// When it is to be replaced.
    expires: Option<Instant>,
}

/// What callers want.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    /// So many more than are in use.
    pub(crate) more: u32,
    /// One more than there are.
    pub(crate) grow: bool,
    /// None is to be kept for calls that may come.
    pub(crate) spare: bool,
    /// The connections that nobody uses at this moment, by id, and since when; `None`: since the last look at least.
    pub(crate) unused: Vec<(u64, Option<Instant>)>,
}

/// What is to be done now, and when to look again.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Orders {
    /// So many connects are to be begun.
    pub(crate) open: u32,
    /// These are to take no more calls; why, and how long there had been one.
    pub(crate) retire: Vec<(u64, Retirement, Duration)>,
    /// These are to be asked for a sign of life.
    pub(crate) ask: Vec<u64>,
    /// When to look again, at the latest.
    pub(crate) due: Option<Instant>,
    /// One more could be opened at this moment, if somebody wanted it.
    pub(crate) can_grow: bool,
    /// Nobody wants a connection, and there is none.
    pub(crate) is_idle: bool,
}

/// So many connects at a time, where nothing speaks against more than one.
const AT_A_TIME: u32 = 8;

/// The least share of the maximum age that one gets.
const LEAST_AGE: f64 = 0.1;

impl Plan {
    /// `sleeps`: whether the pool may be without a connection after its peer has closed one that nobody used.
    pub(crate) fn new(sleeps: bool) -> Self {
        Plan {
            members: Vec::new(),
            connecting: 0,
            reconnect: Reconnect::default(),
            not_before: None,
            asleep: false,
            sleeps,
        }
    }

    /// How many there are.
    pub(crate) fn open(&self) -> u32 {
        self.members.len() as u32
    }

    /// How many connects are under way.
    pub(crate) fn connecting(&self) -> u32 {
        self.connecting
    }

    /// When the next connect may be made, if that is not now.
    pub(crate) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// Since when there is this one; `None` if it is none of the pool's any more.
    pub(crate) fn since(&self, id: u64) -> Option<Instant> {
        self.members.iter().find(|member| member.id == id).map(|member| member.since)
    }

    /// A connect has succeeded. `id` is greater than all before.
    pub(crate) fn connected(&mut self, config: &PoolConfig, id: u64, now: Instant, rng: &mut Rng) {
        self.connecting = self.connecting.saturating_sub(1);
        self.not_before = None;
        let mut age = |max: Duration| max.mul_f64(LEAST_AGE + (1.0 - LEAST_AGE) * rng.f64());
        let expires = config.max_age.map(|max| now + age(max));
        self.members.push(Member { id, since: now, used: now, asked: now, expires });
    }

    /// A connect has failed. Answers with when the next one may be made.
    pub(crate) fn failed(&mut self, config: &PoolConfig, now: Instant, rng: &mut Rng) -> Instant {
        self.connecting = self.connecting.saturating_sub(1);
        self.wait(now, |reconnect| reconnect.failed(&config.reconnect, now, rng))
    }

    /// A connection has ended by itself.
    pub(crate) fn lost(&mut self, config: &PoolConfig, id: u64, how: Ending, now: Instant, rng: &mut Rng) {
        let Some(at) = self.members.iter().position(|member| member.id == id) else { return };
        let since = self.members.remove(at).since;
        let away = match how {
            // Each of them has answered a call: they can be no more than there are calls, and want no other bound.
            Ending::Spent => return,
            Ending::Unused if self.sleeps => {
                self.asleep = self.members.is_empty();
                return;
            }
            Ending::Unused | Ending::GoingAway => true,
            Ending::Broken => false,
        };
        self.wait(now, |reconnect| reconnect.lost(&config.reconnect, since, now, away, rng));
    }

    /// A connection was given up: it is none of the pool's any more.
    pub(crate) fn gone(&mut self, id: u64) {
        self.members.retain(|member| member.id != id);
    }

    fn wait(&mut self, now: Instant, wait: impl FnOnce(&mut Reconnect) -> Duration) -> Instant {
        let until = now + wait(&mut self.reconnect);
        let until = self.not_before.map_or(until, |before| before.max(until));
        self.not_before = (until > now).then_some(until);
        until
    }

    /// What is to be done now. What is ordered here counts as done.
    pub(crate) fn look(&mut self, config: &PoolConfig, demand: &Demand, now: Instant) -> Orders {
        let mut orders = Orders::default();
        let busy = self.note_use(demand, now);
        if let Some(oldest) = self.members.first() {
            self.reconnect.lasts(&config.reconnect, oldest.since, now);
        }
        let grown = if demand.grow { self.open() + 1 } else { 0 };
        let called_for = busy.saturating_add(demand.more).max(grown);
        self.asleep &= called_for == 0;
        let base = if self.asleep || demand.spare { 0 } else { config.min };
        let wanted = called_for.max(base).min(config.max);

        self.retire_old(wanted, now, &mut orders);
        self.retire_surplus(config, wanted, base, now, &mut orders);
        self.open_some(config, wanted, now, &mut orders);
        self.ask(config, demand, now, &mut orders);
        orders.is_idle = wanted == 0 && self.members.is_empty() && self.connecting == 0;
        orders
    }

    /// Answers with how many are in use.
    fn note_use(&mut self, demand: &Demand, now: Instant) -> u32 {
        let mut busy = 0;
        for member in &mut self.members {
            match demand.unused.binary_search_by_key(&member.id, |(id, _)| *id) {
                Ok(at) => member.used = demand.unused[at].1.unwrap_or(member.used),
                Err(_) => (member.used, busy) = (now, busy + 1),
            }
        }
        busy
    }

    /// Those whose time has come are retired when there are enough without them.
    fn retire_old(&mut self, wanted: u32, now: Instant, orders: &mut Orders) {
        let mut there = self.members.len() as u32;
        self.members.retain(|member| {
            let retire = member.is_expired(now) && there > wanted;
            if retire {
                there -= 1;
                orders.retire.push((member.id, Retirement::Aged, member.age(now)));
            }
            !retire
        });
        let next =
            self.members.iter().filter_map(|member| member.expires).filter(|expires| *expires > now).min();
        orders.at(next);
    }

    /// Those that nobody used for long, the newest first; and those that are too many by now.
    fn retire_surplus(
        &mut self,
        config: &PoolConfig,
        wanted: u32,
        base: u32,
        now: Instant,
        orders: &mut Orders,
    ) {
        let aging = self.members.iter().any(|member| member.is_expired(now));
        let most = config.max + u32::from(aging);
        for at in (0..self.members.len()).rev() {
            let (there, member) = (self.members.len() as u32, &self.members[at]);
            let until = config.idle_timeout.map(|timeout| (member.used + timeout, timeout));
            let why = match until {
                _ if there > most => Retirement::Surplus,
                Some((until, _)) if there > wanted && until <= now => Retirement::Idle,
                // Not used, and wanted all the same: for as long again.
                Some((until, timeout)) if there > base => {
                    orders.at(Some(if until > now { until } else { now + timeout }));
                    continue;
                }
                _ => continue,
            };
            orders.retire.push((member.id, why, member.age(now)));
            self.members.remove(at);
        }
    }

    fn open_some(&mut self, config: &PoolConfig, wanted: u32, now: Instant, orders: &mut Orders) {
        let expired = self.members.iter().filter(|member| member.is_expired(now)).count() as u32;
        let there = self.open() + self.connecting;
        let most = config.max + u32::from(expired > 0);
        let missing = (wanted + expired.min(1)).min(most).saturating_sub(there);
        if self.not_before.is_some_and(|until| until <= now) {
            self.not_before = None;
        }
        let at_a_time = if self.reconnect.is_in_trouble() { 1 } else { AT_A_TIME };
        let may = match self.not_before {
            Some(_) => 0,
            None => at_a_time.saturating_sub(self.connecting),
        };
        orders.open = missing.min(may);
        self.connecting += orders.open;
        orders.can_grow =
            self.not_before.is_none() && there + orders.open < config.max && self.connecting < at_a_time;
        if missing > 0 || !orders.can_grow {
            orders.at(self.not_before);
        }
    }

    fn ask(&mut self, config: &PoolConfig, demand: &Demand, now: Instant, orders: &mut Orders) {
        let Some(every) = config.keep_alive else { return };
        for member in &mut self.members {
            let due = member.used.max(member.asked) + every;
            if due > now {
                orders.at(Some(due));
                continue;
            }
            member.asked = now;
            orders.at(Some(now + every));
            if demand.unused.binary_search_by_key(&member.id, |(id, _)| *id).is_ok() {
                orders.ask.push(member.id);
            }
        }
    }
}

impl Member {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl Orders {
    fn at(&mut self, due: Option<Instant>) {
        self.due = match (self.due, due) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}
